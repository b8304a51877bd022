"""Write a still picture: the formats, what each can hold, and 16 bits as PNG and TIFF."""

import logging
import zlib
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, PngImagePlugin

from vidx4.errors import OutputError
from vidx4.jobs.job import Pixels
from vidx4.jobs.still.channels import to_picture
from vidx4.jobs.still.deep_tiff import PER_INCH, STRAIGHT
from vidx4.jobs.still.metadata import Metadata
from vidx4.media.pictures.png16 import density_chunk, encode_png, profile_chunk

_logger = logging.getLogger(__name__)

JPEG_QUALITY = 95
DEEP_FORMATS = frozenset({"PNG", "TIFF"})
"""Formats that hold 16 bits per colour."""
_RGB_FORMATS = {"AVIF", "WEBP"}
"""Formats that hold no gray."""
_STRIP_ROWS = 64
_DEFLATE, _HORIZONTAL = 8, 2
"""Compression and predictor of a TIFF file (TIFF 6.0, and Adobe's technical notes of 2002)."""
_JPEG_EXIF_SIZE = 65533
"""Most bytes of EXIF data in a JPEG file."""
_Base = ExifTags.Base
_PROFILE_SPACE = slice(16, 20)
"""Where a colour profile names its colour space (ICC.1:2022, 7.2.6)."""


def kept_profile(image_format: str | None, metadata: Metadata) -> bytes | None:
    """Return the colour profile, but not one of gray for a format that turns gray into RGB."""
    profile = metadata.icc_profile
    is_gray_profile = profile is not None and profile[_PROFILE_SPACE] == b"GRAY"
    return None if is_gray_profile and image_format in _RGB_FORMATS else profile


def write_picture(channels: Pixels, path: Path, image_format: str | None, metadata: Metadata) -> None:
    """Write a picture with as much of its metadata as the format holds.

    Args:
        channels: gray or RGB, without or with alpha; 16 bits are rounded if the format holds 8.
        path: the file, whatever its suffix.
        image_format: Pillow's name of the format.
        metadata: that of the picture.

    Raises:
        OutputError: the format can't hold the picture.
    """
    if channels.dtype == np.uint16 and image_format in DEEP_FORMATS:
        path.write_bytes(_encode(channels, image_format, metadata))
        return
    picture = to_picture(channels)
    if image_format == "JPEG" and picture.mode in ("RGBA", "LA"):
        picture = _on_white(picture)
    try:
        picture.save(path, image_format, **_save_options(image_format, metadata))
    except (ValueError, KeyError) as error:
        raise OutputError(f"The format {image_format} can't hold the picture: {error}.") from error


def _save_options(image_format: str | None, metadata: Metadata) -> dict[str, Any]:
    """Return the arguments for Pillow beside the pixels; each format takes those that it knows."""
    options: dict[str, Any] = {"icc_profile": kept_profile(image_format, metadata)}
    if image_format in ("JPEG", "WEBP"):
        options["quality"] = JPEG_QUALITY
    if metadata.dpi:
        options["dpi"] = metadata.dpi
    if image_format == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        for chunk in metadata.color_chunks:
            options["pnginfo"].add(*chunk)
    if len(metadata.exif):
        exif = metadata.exif.tobytes()
        if image_format == "JPEG" and len(exif) > _JPEG_EXIF_SIZE:
            _logger.warning("The EXIF data is too long for JPEG, and is dropped.")
        else:
            options["exif"] = exif
    return options


def _on_white(picture: Image.Image) -> Image.Image:
    """Lay a picture on white, for formats without transparency."""
    rgba = picture.convert("RGBA")
    laid = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return laid.convert("L" if picture.mode == "LA" else "RGB")


def _encode(channels: NDArray[Any], image_format: str | None, metadata: Metadata) -> bytes:
    """Return a PNG or TIFF file of 16 bits."""
    if image_format == "TIFF":
        return _tiff(channels, metadata)
    chunks = list(metadata.color_chunks)
    if metadata.icc_profile:
        # A file must not hold both (PNG, third edition, 11.3.2.3).
        chunks = [profile_chunk(metadata.icc_profile), *(chunk for chunk in chunks if chunk[0] != b"sRGB")]
    if metadata.dpi:
        chunks.append(density_chunk(metadata.dpi))
    if len(metadata.exif):
        chunks.append((b"eXIf", _bare(metadata.exif)))
    return encode_png(channels, chunks)


def _tiff(channels: NDArray[np.uint16], metadata: Metadata) -> bytes:
    """Return a TIFF file: EXIF data is one without pixels, so the rest is added to it."""
    height, width, num_channels = channels.shape
    strips = [_packed(channels[top : top + _STRIP_ROWS]) for top in range(0, height, _STRIP_ROWS)]
    tags = Image.Exif()
    tags.load(metadata.exif.tobytes())
    tags[_Base.ImageWidth], tags[_Base.ImageLength] = width, height
    tags[_Base.BitsPerSample], tags[_Base.SamplesPerPixel] = (16,) * num_channels, num_channels
    tags[_Base.PhotometricInterpretation] = 2 if num_channels > 2 else 1
    tags[_Base.Compression], tags[_Base.Predictor], tags[_Base.PlanarConfiguration] = _DEFLATE, _HORIZONTAL, 1
    tags[_Base.RowsPerStrip], tags[_Base.StripByteCounts] = _STRIP_ROWS, tuple(map(len, strips))
    # From the end of the tables on: Pillow adds where that is.
    tags[_Base.StripOffsets] = tuple(accumulate(map(len, strips[:-1]), initial=0))
    if num_channels in (2, 4):
        tags[_Base.ExtraSamples] = STRAIGHT
    if metadata.icc_profile:
        tags[_Base.InterColorProfile] = metadata.icc_profile
    if metadata.dpi:
        tags[_Base.XResolution], tags[_Base.YResolution] = metadata.dpi
        tags[_Base.ResolutionUnit] = PER_INCH
    return b"".join((_bare(tags), *strips))


def _packed(rows: NDArray[np.uint16]) -> bytes:
    """Compress rows, (H, W, C), each pixel stored as its difference from the one on its left."""
    return zlib.compress(np.diff(rows, axis=1, prepend=np.uint16(0)).astype("<u2").tobytes())


def _bare(exif: Image.Exif) -> bytes:
    """Return EXIF data without the name that JPEG puts before it."""
    return exif.tobytes().removeprefix(b"Exif\0\0")
