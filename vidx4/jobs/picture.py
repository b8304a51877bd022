"""One still picture, from file to file."""

import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, PngImagePlugin

from vidx4.diffusion.picture import Picture, in_eight_bits
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import OutputError, SourceError
from vidx4.jobs.plan import default_output
from vidx4.media.deep import Chunk, color_chunks, density_chunk, encode_png, profile_chunk, read_deep
from vidx4.media.whole import check_writable, write_whole
from vidx4.temporal.follow import Temporal
from vidx4.video import FrameBatch

_logger = logging.getLogger(__name__)

JPEG_QUALITY = 95
_ANIMATIONS = {"AVIF", "FLI", "GIF", "PNG", "WEBP"}
"""Formats whose further images are frames, not thumbnails, pages or views from another lens."""
_DEEP_FORMATS = {"PNG", "TIFF"}
"""Formats that hold 16 bits."""
_PNG, _TIFFS = b"\x89PNG\r\n\x1a\n", (b"II*\0", b"MM\0*")
_PNG_DEPTH = 24
"""Where a PNG file tells its bits per colour."""
_STRIP_ROWS = 64
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, struct.error)
"""What Pillow raises for damaged files, whatever it documents."""
_Base = ExifTags.Base
_LASTING = (
    *(_Base.DocumentName, _Base.ImageDescription, _Base.Make, _Base.Model, _Base.Software, _Base.DateTime),
    *(_Base.Artist, _Base.HostComputer, _Base.Copyright, _Base.Rating, _Base.RatingPercent, _Base.XPTitle),
    *(_Base.XPComment, _Base.XPAuthor, _Base.XPKeywords, _Base.XPSubject),
)
"""What of EXIF data stays true of another file; its orientation doesn't, since pictures are turned upright."""
_SIZES = (_Base.ExifImageWidth, _Base.ExifImageHeight)


def is_picture(path: Path) -> bool:
    """Whether a file holds a still picture, by its content; of several pages, the first is meant."""
    try:
        with _open(path) as picture:
            is_animated = picture.format in _ANIMATIONS and getattr(picture, "n_frames", 1) > 1
            return picture.format != "MPEG" and not is_animated
    except Image.DecompressionBombError:
        return True
    except _DAMAGE:
        return _has_deep_pixels(path)


def picture_suffix(path: Path) -> str:
    """Return the suffix of an enlarged picture: its source's where Pillow writes that, else `.png`."""
    return path.suffix if _format(path) else ".png"


def plan_picture(path: Path, output: Path | None = None, *, overwrite: bool = False) -> Path:
    """Decide where an enlarged picture goes.

    Args:
        path: the picture.
        output: where the result goes, its format by its suffix; None for `<stem>_x4` beside the picture, in
            its own format where Pillow writes that, else PNG.
        overwrite: whether a file that is there may be replaced.

    Raises:
        OutputError: the output exists, is the picture itself, or is of an unknown format.
    """
    output = output or default_output(path, picture_suffix(path))
    if _format(output) is None:
        raise OutputError(f"A picture can't be written to a {output.suffix or 'nameless'} file: use .png.")
    check_writable(output, path, overwrite)
    return output


def upscale_picture(path: Path, output: Path, upscaler: Upscaler) -> None:
    """Make a still picture four times larger, and turn it upright.

    Transparency, the colour profile, EXIF data and the number of pixels per inch are kept as far as the format
    of the output goes, and so are 16 bits per colour in PNG and TIFF.

    Raises:
        SourceError: the picture is damaged.
        OutputError: the output can't be written.
    """
    still = _read(path)
    image_format = _format(output)
    if still.is_deep and image_format not in _DEEP_FORMATS:
        _logger.warning("%s files hold 8 bits per colour: the 16 of %s are rounded.", image_format, path)
    enlarged = _enlarge(still, upscaler)
    with write_whole(output) as unfinished:
        if isinstance(enlarged, Image.Image):
            _save(enlarged, unfinished, image_format, still.about)
        else:
            unfinished.write_bytes(_encode(enlarged, image_format, still.about))


@dataclass(frozen=True)
class _About:
    """What a picture holds beside its pixels."""

    exif: Image.Exif
    icc_profile: bytes | None
    dpi: tuple[float, float] | None
    color_chunks: tuple[Chunk, ...]
    """What a PNG file says of its colours."""


@dataclass(frozen=True)
class _Still:
    """A picture that was read: as Pillow has it, or in 16 bits, which Pillow often has not, upright."""

    pixels: Image.Image | NDArray[np.uint16]
    about: _About

    @property
    def is_deep(self) -> bool:
        return not isinstance(self.pixels, Image.Image) or self.pixels.mode.startswith("I")
