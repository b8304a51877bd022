"""One still picture, from file to file."""

import logging
import zlib
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, PngImagePlugin

from vidx4.diffusion.picture import Picture, in_eight_bits
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import OutputError
from vidx4.frames import SCALE, FrameBatch
from vidx4.jobs.job import Backend, Pixels
from vidx4.jobs.plan import default_output
from vidx4.jobs.progress import Control
from vidx4.jobs.still.read import PER_INCH, STRAIGHT, About, Still, read_enlarged, read_still
from vidx4.media.atomic import check_writable, write_whole
from vidx4.media.checks import Check, require_kept
from vidx4.media.pictures.png16 import density_chunk, encode_png, profile_chunk
from vidx4.temporal.mode import Temporal

_logger = logging.getLogger(__name__)

JPEG_QUALITY = 95
_DEEP_FORMATS = {"PNG", "TIFF"}
"""Formats that hold 16 bits."""
_RGB_FORMATS = {"AVIF", "WEBP"}
"""Formats that hold no gray."""
_DESCRIBED_FORMATS = {"AVIF", "JPEG", "PNG", "TIFF", "WEBP"}
"""Formats with a colour profile and EXIF data."""
_MEASURED_FORMATS = {"JPEG", "PNG", "TIFF"}
"""Formats that tell pixels per inch; JPEG in whole numbers."""
_UNREADABLE = {"EPS", "PALM", "PDF", "WMF"}
"""Formats that Pillow writes, but doesn't read without other programs."""
_STRIP_ROWS = 64
_DEFLATE, _HORIZONTAL = 8, 2
"""How a TIFF file is written (TIFF 6.0, and Adobe's technical notes of 2002)."""
_JPEG_EXIF_SIZE = 65533
"""Bytes."""
_Base = ExifTags.Base
_PROFILE_SPACE = slice(16, 20)
"""Where a colour profile names its kind of colours (ICC.1:2022, 7.2.6)."""


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


def upscale_picture(path: Path, output: Path, backend: Backend, control: Control | None = None) -> None:
    """Make a still picture four times larger, and turn it upright.

    Transparency, the colour profile, EXIF data and the number of pixels per inch are kept as far as the
    format of the output goes, and so are 16 bits per colour in PNG and TIFF.

    Args:
        path: the picture.
        output: where the result goes.
        backend: what enlarges it.
        control: hears when there is room for others beside it, and stops it before it is begun.

    Raises:
        SourceError: the picture is damaged.
        OutputError: the output can't be written.
        StoppedError: the control said so.
    """
    still = read_still(path)
    image_format = _format(output)
    if still.is_deep and image_format not in _DEEP_FORMATS:
        _logger.warning("%s files hold 8 bits per colour: the 16 of %s are rounded.", image_format, path)
    enlarged = backend.picture(still.pixels, control or Control())
    with write_whole(output) as unfinished:
        _write(enlarged, unfinished, image_format, still.about)
        del enlarged  # to read the result takes as much memory again
        require_kept(list(_checks(still, read_enlarged(unfinished), image_format)), output, may_lose=True)


def _write(enlarged: Pixels, path: Path, image_format: str | None, about: About) -> None:
    if isinstance(enlarged, Image.Image):
        _save(enlarged, path, image_format, about)
    elif image_format in _DEEP_FORMATS:
        path.write_bytes(_encode(enlarged, image_format, about))
    else:
        _save(in_eight_bits(enlarged), path, image_format, about)


def verify_picture(path: Path, upscaled: Path) -> list[Check]:
    """Compare a picture with its enlarged copy, as far as the format of the copy goes.

    Raises:
        SourceError: one of them can't be read.
    """
    return list(_checks(read_still(path), read_enlarged(upscaled), _format(upscaled)))


def _checks(still: Still, copy: Still, image_format: str | None) -> Iterator[Check]:
    width, height = still.size
    yield Check.of("size", f"{SCALE * width}x{SCALE * height}", "{}x{}".format(*copy.size))
    if image_format in _DEEP_FORMATS:
        yield Check.of("bits per colour", still.bit_depth, copy.bit_depth)
    if image_format != "JPEG":
        yield Check.of("transparency", still.has_alpha, copy.has_alpha)
    if image_format in _DESCRIBED_FORMATS:
        profiles = _profile(image_format, still.about), copy.about.icc_profile
        yield Check.of("colour profile", *map(_fingerprint, profiles))
        exif = (each.about.exif.tobytes() if len(each.about.exif) else None for each in (still, copy))
        yield Check.of("EXIF data", *map(_fingerprint, exif))
    if image_format in _MEASURED_FORMATS and still.about.dpi:
        given, kept = still.about.dpi, copy.about.dpi or (0.0, 0.0)
        is_kept = all(abs(a - b) <= 0.5 for a, b in zip(given, kept, strict=True))
        yield Check("pixels per inch", "{:g} x {:g}".format(*given), "{:g} x {:g}".format(*kept), is_kept)


def _fingerprint(data: bytes | None) -> str:
    return sha256(data).hexdigest()[:16] if data else "none"


def _format(path: Path) -> str | None:
    image_format = Image.registered_extensions().get(path.suffix.lower())
    return image_format if image_format in Image.SAVE.keys() - _UNREADABLE else None


def enlarge_pixels(pixels: Pixels, upscaler: Upscaler) -> Pixels:
    """Enlarge a still picture four times, in its own mode where possible."""
    if isinstance(pixels, Image.Image):
        return upscaler.fitted(*pixels.size).picture(pixels)
    # What `Upscaler.picture` does with a picture of Pillow's.
    upscaler = upscaler.with_options(replace(upscaler.options, temporal=Temporal.FIXED))
    picture = Picture.of_channels(pixels)
    upscaler = upscaler.fitted(*reversed(picture.pixels.shape[1:]))
    return picture.enlarged(upscaler(FrameBatch(picture.pixels[None], (0,))).batch.data[0])


def _encode(pixels: NDArray[np.uint16], image_format: str | None, about: About) -> bytes:
    """Return a PNG or TIFF file of 16 bits, (H, W, C)."""
    if image_format == "TIFF":
        return _tiff(pixels, about)
    chunks = list(about.color_chunks)
    if about.icc_profile:
        chunks = [profile_chunk(about.icc_profile), *(chunk for chunk in chunks if chunk[0] != b"sRGB")]
    if about.dpi:
        chunks.append(density_chunk(about.dpi))
    if len(about.exif):
        chunks.append((b"eXIf", _bare(about.exif)))
    return encode_png(pixels, chunks)


def _tiff(pixels: NDArray[np.uint16], about: About) -> bytes:
    """Return a TIFF file: EXIF data is one without pixels."""
    height, width, num_channels = pixels.shape
    strips = [_packed(pixels[top : top + _STRIP_ROWS]) for top in range(0, height, _STRIP_ROWS)]
    tags = Image.Exif()
    tags.load(about.exif.tobytes())
    tags[_Base.ImageWidth], tags[_Base.ImageLength] = width, height
    tags[_Base.BitsPerSample], tags[_Base.SamplesPerPixel] = (16,) * num_channels, num_channels
    tags[_Base.PhotometricInterpretation] = 2 if num_channels > 2 else 1
    tags[_Base.Compression], tags[_Base.Predictor], tags[_Base.PlanarConfiguration] = _DEFLATE, _HORIZONTAL, 1
    tags[_Base.RowsPerStrip], tags[_Base.StripByteCounts] = _STRIP_ROWS, tuple(map(len, strips))
    # Pillow adds where the tables end.
    tags[_Base.StripOffsets] = tuple(accumulate(map(len, strips[:-1]), initial=0))
    if num_channels in (2, 4):
        tags[_Base.ExtraSamples] = STRAIGHT
    if about.icc_profile:
        tags[_Base.InterColorProfile] = about.icc_profile
    if about.dpi:
        tags[_Base.XResolution], tags[_Base.YResolution] = about.dpi
        tags[_Base.ResolutionUnit] = PER_INCH
    return b"".join((_bare(tags), *strips))


def _packed(rows: NDArray[np.uint16]) -> bytes:
    """Compress rows, (H, W, C), of which each pixel is stored as what it adds to the one on its left."""
    return zlib.compress(np.diff(rows, axis=1, prepend=np.uint16(0)).astype("<u2").tobytes())


def _bare(exif: Image.Exif) -> bytes:
    """Return EXIF data without the name that JPEG puts before it."""
    return exif.tobytes().removeprefix(b"Exif\0\0")


def _save(picture: Image.Image, path: Path, image_format: str | None, about: About) -> None:
    options = _options(picture, image_format, about)
    if picture.mode == "I;16" and image_format not in _DEEP_FORMATS:
        picture = in_eight_bits(np.asarray(picture)[..., None])
    if image_format == "JPEG" and picture.mode in ("RGBA", "LA"):
        picture = _on_white(picture)
    try:
        picture.save(path, image_format, **options)
    except (ValueError, KeyError) as error:
        raise OutputError(f"The format {image_format} can't hold the picture: {error}.") from error


def _options(picture: Image.Image, image_format: str | None, about: About) -> dict[str, Any]:
    """Return what a format is told beside the pixels; each takes what it knows."""
    options: dict[str, Any] = {"icc_profile": _profile(image_format, about)}
    if image_format in ("JPEG", "WEBP"):
        options["quality"] = JPEG_QUALITY
    if about.dpi:
        options["dpi"] = about.dpi
    if image_format == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        for chunk in about.color_chunks:
            options["pnginfo"].add(*chunk)
    if len(about.exif):
        exif = about.exif.tobytes()
        if image_format == "JPEG" and len(exif) > _JPEG_EXIF_SIZE:
            _logger.warning("The EXIF data is too long for JPEG, and left out.")
        else:
            options["exif"] = exif
    return options


def _profile(image_format: str | None, about: About) -> bytes | None:
    """Return the colour profile, but for one of gray where a format makes that RGB."""
    profile = about.icc_profile
    is_gray_profile = profile is not None and profile[_PROFILE_SPACE] == b"GRAY"
    return None if is_gray_profile and image_format in _RGB_FORMATS else profile


def _on_white(picture: Image.Image) -> Image.Image:
    """Lay a picture on white, for formats without transparency."""
    rgba = picture.convert("RGBA")
    laid = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return laid.convert("L" if picture.mode == "LA" else "RGB")
