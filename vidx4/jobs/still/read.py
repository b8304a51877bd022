"""Read a still picture: its pixels, upright, and the metadata that stays true of an enlarged copy."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import fstat
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from vidx4.errors import SourceError, Vidx4Error
from vidx4.files.read import is_regular
from vidx4.frames import SCALE
from vidx4.jobs.job import Pixels
from vidx4.jobs.still.channels import channels_of, num_colors, upright
from vidx4.jobs.still.deep_tiff import SIGNATURES, DeepTiff, check_tiles
from vidx4.jobs.still.formats import open_picture
from vidx4.jobs.still.jpeg import check_scans
from vidx4.jobs.still.jpeg2000 import check_parts
from vidx4.jobs.still.metadata import Metadata, density_of, lasting_exif
from vidx4.jobs.still.metered import MeteredFile, open_metered
from vidx4.jobs.still.webp import is_webp, num_images
from vidx4.media.pictures.bmp import decode_file
from vidx4.media.pictures.png16 import SIGNATURE, color_chunks, is_animated, is_deep, read_deep
from vidx4.media.stall import PATIENCE, Pulse, watched

_logger = logging.getLogger(__name__)

MAX_PIXELS = 2 * (1 << 30) // 12
"""Most pixels of a source: Pillow's own limit, beyond which it takes a file for a decompression bomb."""
_WEBP_PIXELS = 16383**2
"""Pixels of the largest WebP file: the only copy whose size Pillow looks at before it can be checked here."""
# Set once, when this module is imported, and never while work runs: threads share these switches. Pillow
# refuses more than twice its limit. Sizes are checked in `_check_size`, too, before pixels are decoded.
Image.MAX_IMAGE_PIXELS = -(-_WEBP_PIXELS // 2)
# What Pillow tells programmers: of odd EXIF data, and of pictures that are merely large.
warnings.filterwarnings("ignore", module=r"PIL\.")

_ANIMATIONS = {"AVIF", "GIF"}
"""Formats whose further images are frames, not thumbnails, pages or views from another lens."""
_DDS_HEADER, _DDS_BYTES_PER_PIXEL = 148, 4
"""Most bytes of a DDS file before its pixels, and of each pixel of its largest image."""
_OTHER_BYTES = 1 << 20
"""Bytes of a compressed BMP file beside one for each pixel: its header, and what its rows take more."""
_JPEG = b"\xff\xd8\xff"
_HEAD_SIZE = 32
"""Bytes that tell PNG, WebP, TIFF and JPEG files from others."""
_STREAMS = frozenset({".mjpeg", ".mjpg", ".obu"})
"""Suffixes of videos that are pictures one after another, without a container."""


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


def is_picture(path: Path) -> bool:
    """Return whether a file holds a still picture, by its content; of several pages, the first counts."""
    # To open a pipe waits for its writer; and a stream of JPEG pictures begins like one of them.
    if not is_regular(path) or path.suffix.lower() in _STREAMS:
        return False
    try:
        with open_metered(path) as file:
            return _holds_picture(file, path.suffix)
    except Image.DecompressionBombError:
        return True
    except Exception:  # whatever Pillow raises for damaged files, and for those of other kinds
        return False


def _holds_picture(file: MeteredFile, suffix: str) -> bool:
    """Return whether a file holds a still picture, if a damaged one; raises as `open_picture`."""
    head = file.read(_HEAD_SIZE)
    if head.startswith(SIGNATURE):
        return not is_animated(file)
    if is_webp(head):
        return num_images(file) == 1
    if head.startswith((*SIGNATURES, _JPEG)):
        return True
    file.seek(0)
    picture = open_picture(file, suffix)
    return not (picture.format in _ANIMATIONS and getattr(picture, "is_animated", False))


def stored_size(path: Path) -> tuple[int, int]:
    """Return the width and height of a picture before it is turned upright.

    Raises:
        SourceError: it can't be read.
    """
    with _errors_about(path), open_metered(path) as file:
        return _header(file, path, MAX_PIXELS).size


def read_enlarged(path: Path, source_size: tuple[int, int]) -> StillPicture:
    """Read a picture that was enlarged, and so may be larger than any source.

    Args:
        path: the copy.
        source_size: width and height of its source.

    Raises:
        SourceError: it is damaged, of a rare kind, or larger than the copy of such a source can be.
    """
    return read_picture(path, SCALE**2 * source_size[0] * source_size[1])


def read_picture(path: Path, max_pixels: int | None = None) -> StillPicture:
    """Read a picture.

    Args:
        path: a file of a format that `open_picture` reads.
        max_pixels: the largest size that is read; `MAX_PIXELS` by default.

    Raises:
        SourceError: it is damaged, of a rare kind or far too large.
    """
    limit = max_pixels or MAX_PIXELS

    def read(pulse: Pulse) -> StillPicture:
        with _errors_about(path):
            tiff = _deep_tiff(path)
            return _read(path, limit, pulse) if tiff is None else _read_deep_tiff(tiff, path, limit)

    # Decoders can't be interrupted, but whoever waits for them can.
    return watched(read, f"Reading {path}", PATIENCE)


@contextmanager
def _errors_about(path: Path) -> Iterator[None]:
    """Turn whatever reading a picture raises into an error for the user."""
    try:
        yield
    except Vidx4Error:
        raise
    except UnidentifiedImageError as error:
        raise SourceError(f"{path} can't be read as a picture: it is damaged, or of a rare kind.") from error
    except MemoryError as error:
        raise SourceError(
            f"{path} can't be read as a picture: it needs more memory than there is."
        ) from error
    except Exception as error:
        # Pillow's modules were written for files that are well: for others they raise nearly anything.
        _logger.debug("%s can't be read.", path, exc_info=True)
        raise SourceError(f"{path} can't be read as a picture: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.strip().rstrip(".") or f"it is damaged ({type(error).__name__})"


def _check_size(path: Path, size: tuple[int, int], max_pixels: int) -> None:
    """Make sure that a picture is not too large.

    Raises:
        SourceError: it is.
    """
    if size[0] * size[1] > max_pixels:
        has = "{}x{}".format(*size)
        raise SourceError(
            f"{path} is too large: it has {has} pixels, and {max_pixels:,} are allowed at most."
        )


def _read(path: Path, max_pixels: int, pulse: Pulse) -> StillPicture:
    with open_metered(path, pulse.beat) as file:
        picture = _header(file, path, max_pixels)
        _check_size(path, picture.size, max_pixels)
        file.allow_pixels(picture.width * picture.height)
        _check_work(picture, file)
        channels = _channels(picture, file, path, max_pixels)
        # Only now: Pillow turns some formats while it loads them, and some tell of it only at their end.
        orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
        return StillPicture(upright(channels, orientation), _metadata(picture, path))


def _channels(picture: ImageFile, file: MeteredFile, path: Path, max_pixels: int) -> Pixels:
    """Return the channels of a picture as it is stored."""
    num_pixels = picture.width * picture.height
    if _decoder(picture) == "dds_rgb":  # Pillow's is written in Python and takes seconds for a megapixel
        file.seek(0)
        content = file.read(_DDS_BYTES_PER_PIXEL * num_pixels + _DDS_HEADER)
        pixels = decode_file("dds", content, num_pixels, has_alpha=picture.mode == "RGBA")
        if pixels.shape[1::-1] != picture.size:
            raise ValueError("it is damaged")
        return pixels
    picture.load()
    _check_size(path, picture.size, max_pixels)  # an icon may hold another picture than it says
    return read_deep(path, num_pixels) if is_deep(path) else channels_of(picture)


def _check_work(picture: ImageFile, file: MeteredFile) -> None:
    """Make sure that the pixels don't take far more work or memory than those of such pictures do.

    Raises:
        ValueError: they do.
        OSError: the file can't be read.
    """
    if picture.format in ("JPEG", "MPO"):
        check_scans(file)
    elif picture.format == "JPEG2000":
        check_parts(file)
    elif isinstance(picture, TiffImageFile):
        check_tiles(picture.tag_v2, picture.size)
    elif _decoder(picture) == "bmp_rle" and fstat(file.fileno()).st_size > (
        picture.width * picture.height + _OTHER_BYTES
    ):
        raise ValueError("it holds far more than a picture of its size")


def _decoder(picture: ImageFile) -> str | None:
    """Return Pillow's name of the decoder of a picture."""
    return picture.tile[0].codec_name if picture.tile else None


def _header(file: MeteredFile, path: Path, max_pixels: int) -> ImageFile:
    try:
        return open_picture(file, path.suffix)
    except Image.DecompressionBombError as error:
        raise SourceError(f"{path} is too large: {max_pixels:,} pixels are allowed at most.") from error


def _metadata(picture: ImageFile, path: Path) -> Metadata:
    # A profile of another colour space would be wrong for the result, which is RGB.
    icc_profile = picture.info.get("icc_profile") if picture.mode not in ("CMYK", "LAB") else None
    density = density_of(picture.info.get("dpi"))
    return Metadata(lasting_exif(picture.getexif(), path), icc_profile, density, color_chunks(path))


def _deep_tiff(path: Path) -> DeepTiff | None:
    """Return a TIFF file if it has 16 bits per colour and Pillow has no mode for it."""
    try:
        with open_metered(path) as file:
            is_tiff = file.read(4) in SIGNATURES
        tiff = DeepTiff(path) if is_tiff else None
        return tiff if tiff and tiff.is_deep else None
    except Exception:  # whatever Pillow raises for damaged tables
        return None


def _read_deep_tiff(tiff: DeepTiff, path: Path, max_pixels: int) -> StillPicture:
    _check_size(path, tiff.size, max_pixels)
    return StillPicture(upright(tiff.channels(), tiff.orientation), tiff.metadata())
