"""Read a still picture: its pixels, upright, and the metadata that stays true of an enlarged copy."""

import logging
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from vidx4.errors import SourceError
from vidx4.frames import SCALE
from vidx4.jobs.job import Pixels
from vidx4.jobs.still.channels import channels_of, num_colors, straight, upright
from vidx4.media.pictures.animated_webp import is_animation
from vidx4.media.pictures.png16 import Chunk, color_chunks, read_deep

_logger = logging.getLogger(__name__)

MAX_PIXELS = 2 * (1 << 30) // 12
"""Most pixels of a source: Pillow's own limit, beyond which it takes a file for a decompression bomb."""
# Set once, when this module is imported, and never while work runs: threads share these switches. Pillow
# refuses more than twice its limit, which has to admit copies of the largest source; sources are checked
# against `MAX_PIXELS` in `_read`.
Image.MAX_IMAGE_PIXELS = SCALE**2 * MAX_PIXELS // 2
# What Pillow tells programmers: of odd EXIF data, and of pictures that are merely large.
warnings.filterwarnings("ignore", module=r"PIL\.")

_ANIMATIONS = {"AVIF", "FLI", "GIF", "PNG", "WEBP"}
"""Formats whose further images are frames, not thumbnails, pages or views from another lens."""
_PNG, _JPEG, _TIFFS = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", (b"II*\0", b"MM\0*")
_HEAD_SIZE = 4096
"""Bytes in which nearly every file tells all that comes before its pixels."""
_PNG_DEPTH = 24
"""Offset in a PNG file of the number of bits per colour."""
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, struct.error)
"""What Pillow raises for damaged files, whatever its documentation says."""
_Base = ExifTags.Base
_LASTING = (
    *(_Base.DocumentName, _Base.ImageDescription, _Base.Make, _Base.Model, _Base.Software, _Base.DateTime),
    *(_Base.Artist, _Base.HostComputer, _Base.Copyright, _Base.Rating, _Base.RatingPercent, _Base.XPTitle),
    *(_Base.XPComment, _Base.XPAuthor, _Base.XPKeywords, _Base.XPSubject),
)
"""EXIF tags that stay true of an enlarged picture. The orientation does not: the copy is upright."""
_STALE = (_Base.ExifImageWidth, _Base.ExifImageHeight, ExifTags.IFD.Interop)
"""Tags of the other EXIF tables that are dropped: sizes, and the offset of a table."""
_UNKNOWN, _MULTIPLIED, STRAIGHT = range(3)
"""Kinds of a further channel in a TIFF file (`ExtraSamples`): unspecified, or alpha."""
PER_INCH = 2
"""Value of a TIFF file's `ResolutionUnit` for pixels per inch."""


@dataclass(frozen=True)
class Metadata:
    """What a picture holds beside its pixels."""

    exif: Image.Exif
    icc_profile: bytes | None
    dpi: tuple[float, float] | None
    """Pixels per inch, across and down."""
    color_chunks: tuple[Chunk, ...]
    """The chunks of a PNG file that describe its colours."""


@dataclass(frozen=True)
class StillPicture:
    """A picture that was read."""

    channels: Pixels
    """Upright."""
    metadata: Metadata

    @property
    def bit_depth(self) -> int:
        """Bits per colour."""
        return 8 * self.channels.itemsize

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.channels.shape[1], self.channels.shape[0]

    @property
    def has_transparency(self) -> bool:
        """Whether a pixel is not opaque; some formats drop the alpha channel if all are."""
        opaque = np.iinfo(self.channels.dtype).max
        has_alpha = self.channels.shape[2] > num_colors(self.channels)
        return has_alpha and int(self.channels[..., -1].min()) < opaque


_STREAMS = frozenset({".mjpeg", ".mjpg", ".obu"})
"""Suffixes of videos that are pictures one after another, without a container."""


def is_picture(path: Path) -> bool:
    """Return whether a file holds a still picture, by its content; of several pages, the first counts."""
    # To open a pipe waits for its writer; and a stream of JPEG pictures begins like one of them.
    if not path.is_file() or path.suffix.lower() in _STREAMS:
        return False
    try:
        with Image.open(path) as picture:
            is_animated = picture.format in _ANIMATIONS and getattr(picture, "n_frames", 1) > 1
            return picture.format != "MPEG" and not is_animated
    except Image.DecompressionBombError:
        return True
    except _DAMAGE:
        return _begins_as_picture(path)


def _begins_as_picture(path: Path) -> bool:
    """Return whether a file that Pillow can't open is a still picture all the same, if a damaged one."""
    try:
        with path.open("rb") as file:
            start = file.read(_HEAD_SIZE)
    except OSError:
        return False
    if start.startswith(_PNG):
        return b"acTL" not in start  # the chunk that makes it an animation
    is_webp = start.startswith(b"RIFF") and start[8:12] == b"WEBP" and not is_animation(path)
    return is_webp or start.startswith((*_TIFFS, _JPEG))


def stored_size(path: Path) -> tuple[int, int]:
    """Return the width and height of a picture before it is turned upright.

    Raises:
        SourceError: it can't be read.
    """
    try:
        with Image.open(path) as picture:
            return picture.size
    except (*_DAMAGE, Image.DecompressionBombError) as error:
        raise SourceError(f"{path} can't be read as a picture: {error}.") from error


def read_enlarged(path: Path) -> StillPicture:
    """Read a picture that was enlarged, and so may be larger than any source; raises as `read_picture`."""
    return read_picture(path, SCALE**2 * MAX_PIXELS)


def read_picture(path: Path, max_pixels: int | None = None) -> StillPicture:
    """Read a picture.

    Args:
        path: a file of any format that Pillow reads.
        max_pixels: the largest size that is read; `MAX_PIXELS` by default.

    Raises:
        SourceError: it is damaged, of a rare kind or far too large.
    """
    max_pixels = max_pixels or MAX_PIXELS
    try:
        return _read_deep_tiff(path) if _is_deep_tiff(path) else _read(path, max_pixels)
    except UnidentifiedImageError as error:
        raise SourceError(f"{path} can't be read as a picture: it is damaged, or of a rare kind.") from error
    except Image.DecompressionBombError as error:
        raise SourceError(
            f"{path} is too large: a picture may have {max_pixels:,} pixels at most."
        ) from error
    except _DAMAGE as error:
        raise SourceError(f"{path} can't be read as a picture: {error}.") from error


def _read(path: Path, max_pixels: int) -> StillPicture:
    # From an open file: Pillow scrambles TIFF pictures that have to be turned if it opens the file itself.
    with path.open("rb") as file, Image.open(file) as picture:
        if picture.width * picture.height > max_pixels:
            raise Image.DecompressionBombError
        picture.load()
        channels = read_deep(path) if _is_deep_png(path) else channels_of(picture)
        # Only now: Pillow turns some formats while it loads them, and some tell of it only at their end.
        orientation = picture.getexif().get(_Base.Orientation, 1)
        return StillPicture(upright(channels, orientation), _metadata(picture, path))


def _metadata(picture: Image.Image, path: Path) -> Metadata:
    # A profile of another colour space would be wrong for the result, which is RGB.
    icc_profile = picture.info.get("icc_profile") if picture.mode not in ("CMYK", "LAB") else None
    density = _density(picture.info.get("dpi"))
    return Metadata(_lasting_exif(picture.getexif(), path), icc_profile, density, color_chunks(path))


def _density(dpi: Any) -> tuple[float, float] | None:
    try:
        across, down = (float(density) for density in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < across < 1 << 16 and 0 < down < 1 << 16 else None


def _lasting_exif(exif: Image.Exif, path: Path) -> Image.Exif:
    """Return the EXIF data that stays true of an enlarged picture."""
    lasting = Image.Exif()
    lasting.endian = "<"
    for tag in _LASTING:
        if tag in exif:
            lasting[tag] = exif[tag]
    for ifd in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if tags := {tag: value for tag, value in exif.get_ifd(ifd).items() if tag not in _STALE}:
            lasting[ifd] = tags
    try:
        lasting.tobytes()
    except (*_DAMAGE, OverflowError):
        _logger.warning("The EXIF data of %s is damaged, and is dropped.", path)
        return Image.Exif()
    return lasting


def _is_deep_png(path: Path) -> bool:
    """Return whether a file is a PNG file of 16 bits, which Pillow reads in 8 but for gray."""
    with path.open("rb") as file:
        start = file.read(_PNG_DEPTH + 1)
    return start.startswith(_PNG) and start[_PNG_DEPTH:] == b"\x10"


def _is_deep_tiff(path: Path) -> bool:
    """Return whether a file is a TIFF file of 16 bits for which Pillow has no mode."""
    try:
        with path.open("rb") as file:
            is_tiff = file.read(4) in _TIFFS
        return is_tiff and _has_deep_pixels(_tiff_tags(path))
    except _DAMAGE:
        return False


def _tiff_tags(path: Path) -> Image.Exif:
    tags = Image.Exif()
    with path.open("rb") as file:
        tags.load_from_fp(file)
        for ifd in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            tags.get_ifd(ifd)
    return tags


def _has_deep_pixels(tags: Image.Exif) -> bool:
    bits, kinds = tags.get(_Base.BitsPerSample), tags.get(_Base.SampleFormat, 1)
    is_gray = not isinstance(bits, tuple) or len(bits) == 1
    if is_gray and _Base.TileWidth in tags:
        return False  # Pillow has a mode for that, and FFmpeg reads no tiles
    is_gray_or_rgb = tags.get(_Base.PhotometricInterpretation) in (0, 1, 2)
    return _values(bits) == {16} and _values(kinds) == {1} and is_gray_or_rgb


def _read_deep_tiff(path: Path) -> StillPicture:
    tags = _tiff_tags(path)
    if _Base.TileWidth in tags:
        raise SourceError(f"{path} holds 16 bits per colour in tiles: save it in strips, or as PNG.")
    channels = read_deep(path)
    extra = _values(tags.get(_Base.ExtraSamples))
    if _UNKNOWN in extra:
        channels = channels[..., :-1]
    elif _MULTIPLIED in extra:
        channels = straight(channels)
    is_per_inch = tags.get(_Base.ResolutionUnit, PER_INCH) == PER_INCH
    density = _density((tags.get(_Base.XResolution), tags.get(_Base.YResolution))) if is_per_inch else None
    metadata = Metadata(_lasting_exif(tags, path), tags.get(_Base.InterColorProfile), density, ())
    return StillPicture(upright(channels, tags.get(_Base.Orientation, 1)), metadata)


def _values(value: Any) -> set[Any]:
    return set(value if isinstance(value, tuple) else (value,))
