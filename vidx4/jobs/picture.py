"""One still picture, from file to file."""

import logging
import struct
import warnings
import zlib
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from vidx4.diffusion.picture import Picture, in_eight_bits, straight, upright
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import OutputError, SourceError
from vidx4.jobs.plan import default_output
from vidx4.media.animation import is_animation
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
_RGB_FORMATS = {"AVIF", "WEBP"}
"""Formats that hold no gray."""
_PNG, _JPEG, _TIFFS = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", (b"II*\0", b"MM\0*")
_MANY_BYTES = 4096
"""That hold all that comes before the pixels, most often."""
_PNG_DEPTH = 24
"""Where a PNG file tells its bits per colour."""
_STRIP_ROWS = 64
_READ_WITH_PIXELS = {"icc_profile", "transparency"}
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, struct.error)
"""What Pillow raises for damaged files, whatever it documents."""
_Base = ExifTags.Base
_LASTING = (
    *(_Base.DocumentName, _Base.ImageDescription, _Base.Make, _Base.Model, _Base.Software, _Base.DateTime),
    *(_Base.Artist, _Base.HostComputer, _Base.Copyright, _Base.Rating, _Base.RatingPercent, _Base.XPTitle),
    *(_Base.XPComment, _Base.XPAuthor, _Base.XPKeywords, _Base.XPSubject),
)
"""What of EXIF data stays true of an enlarged picture; its orientation doesn't: it is turned upright."""
_STALE = (_Base.ExifImageWidth, _Base.ExifImageHeight, ExifTags.IFD.Interop)
"""What is left out of the rest: sizes, and the place of a table."""
_UNKNOWN, _MULTIPLIED, _STRAIGHT = range(3)
"""What a further channel of a TIFF file is: nobody knows, or alpha."""
_DEFLATE, _HORIZONTAL, _PER_INCH = 8, 2, 2
"""How a TIFF file is written (TIFF 6.0, and Adobe's technical notes of 2002)."""
_JPEG_EXIF_SIZE = 65533
"""Bytes."""
_PROFILE_SPACE = slice(16, 20)
"""Where a colour profile names its kind of colours (ICC.1:2022, 7.2.6)."""


def is_picture(path: Path) -> bool:
    """Whether a file holds a still picture, by its content; of several pages, the first is meant."""
    try:
        with _quietly(), Image.open(path) as picture:
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
            start = file.read(_MANY_BYTES)
    except OSError:
        return False
    if start.startswith(_PNG):
        return b"acTL" not in start  # what an animation has
    is_webp = start.startswith(b"RIFF") and start[8:12] == b"WEBP" and not is_animation(path)
    return is_webp or start.startswith((*_TIFFS, _JPEG))


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

    Transparency, the colour profile, EXIF data and the number of pixels per inch are kept as far as the
    format of the output goes, and so are 16 bits per colour in PNG and TIFF.

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
        elif image_format in _DEEP_FORMATS:
            unfinished.write_bytes(_encode(enlarged, image_format, still.about))
        else:
            _save(in_eight_bits(enlarged), unfinished, image_format, still.about)


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


def _format(path: Path) -> str | None:
    image_format = Image.registered_extensions().get(path.suffix.lower())
    return image_format if image_format in Image.SAVE else None


def _quietly() -> "warnings.catch_warnings[None]":
    """Pass over what Pillow says to programmers, of odd EXIF data and pictures that are merely large."""
    return warnings.catch_warnings(action="ignore")


def _read(path: Path) -> _Still:
    try:
        with _quietly():
            return _read_deep(path) if _has_deep_pixels(path) else _read_plain(path)
    except UnidentifiedImageError as error:
        raise SourceError(f"{path} can't be read as a picture: it is damaged, or of a rare kind.") from error
    except (*_DAMAGE, Image.DecompressionBombError) as error:
        raise SourceError(f"{path} can't be read as a picture: {error}.") from error


def _read_plain(path: Path) -> _Still:
    # From an open file: of one that it opens itself, Pillow scrambles TIFF pictures that are to be turned.
    with path.open("rb") as file, Image.open(file) as picture:
        picture.load()
        turned = ImageOps.exif_transpose(picture)
        turned.info = {key: value for key, value in turned.info.items() if key in _READ_WITH_PIXELS}
        return _Still(turned, _about(picture, path))


def _about(picture: Image.Image, path: Path) -> _About:
    # A profile of another colour space would be wrong for the result, which is RGB.
    icc_profile = picture.info.get("icc_profile") if picture.mode not in ("CMYK", "LAB") else None
    density = _density(picture.info.get("dpi"))
    return _About(_lasting_exif(picture.getexif(), path), icc_profile, density, color_chunks(path))


def _density(dpi: Any) -> tuple[float, float] | None:
    try:
        across, down = (float(density) for density in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 0 < across < 1 << 16 and 0 < down < 1 << 16 else None


def _lasting_exif(exif: Image.Exif, path: Path) -> Image.Exif:
    """Return what of EXIF data stays true of an enlarged picture."""
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
        _logger.warning("The EXIF data of %s is damaged, and left out.", path)
        return Image.Exif()
    return lasting


def _has_deep_pixels(path: Path) -> bool:
    """Return whether a file is a PNG or TIFF file of 16 bits, most of which Pillow has no mode for."""
    try:
        with path.open("rb") as file:
            start = file.read(_PNG_DEPTH + 1)
        if start.startswith(_TIFFS):
            return _is_deep(_tiff_tags(path))
        return start.startswith(_PNG) and start[_PNG_DEPTH:] == b"\x10"
    except _DAMAGE:
        return False


def _tiff_tags(path: Path) -> Image.Exif:
    tags = Image.Exif()
    with path.open("rb") as file:
        tags.load_from_fp(file)
        for ifd in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            tags.get_ifd(ifd)
    return tags


def _is_deep(tags: Image.Exif) -> bool:
    bits, kinds = tags.get(_Base.BitsPerSample), tags.get(_Base.SampleFormat, 1)
    is_gray = not isinstance(bits, tuple) or len(bits) == 1
    if is_gray and _Base.TileWidth in tags:
        return False  # Pillow has a mode for that
    is_gray_or_rgb = tags.get(_Base.PhotometricInterpretation) in (0, 1, 2)
    return _values(bits) == {16} and _values(kinds) == {1} and is_gray_or_rgb


def _read_deep(path: Path) -> _Still:
    with path.open("rb") as file:
        is_tiff = file.read(4) in _TIFFS
    if is_tiff:
        return _read_deep_tiff(path)
    with Image.open(path) as picture:
        picture.load()
        orientation = picture.getexif().get(_Base.Orientation, 1)
        return _Still(upright(read_deep(path), orientation), _about(picture, path))


def _read_deep_tiff(path: Path) -> _Still:
    tags = _tiff_tags(path)
    if _Base.TileWidth in tags:
        raise SourceError(f"{path} holds 16 bits per colour in tiles: save it in strips, or as PNG.")
    pixels = read_deep(path)
    extra = _values(tags.get(_Base.ExtraSamples))
    if _UNKNOWN in extra:
        pixels = pixels[..., :-1]
    elif _MULTIPLIED in extra:
        pixels = straight(pixels)
    is_per_inch = tags.get(_Base.ResolutionUnit, _PER_INCH) == _PER_INCH
    density = _density((tags.get(_Base.XResolution), tags.get(_Base.YResolution))) if is_per_inch else None
    about = _About(_lasting_exif(tags, path), tags.get(_Base.InterColorProfile), density, ())
    return _Still(upright(pixels, tags.get(_Base.Orientation, 1)), about)


def _values(value: Any) -> set[Any]:
    return set(value if isinstance(value, tuple) else (value,))


def _enlarge(still: _Still, upscaler: Upscaler) -> Image.Image | NDArray[np.uint16]:
    if isinstance(still.pixels, Image.Image):
        return upscaler.picture(still.pixels)
    # What `Upscaler.picture` does with a picture of Pillow's.
    upscaler = upscaler.with_options(replace(upscaler.options, temporal=Temporal.FIXED))
    picture = Picture.of_channels(still.pixels)
    return picture.enlarged(upscaler(FrameBatch(picture.pixels[None], (0,))).batch.data[0])


def _encode(pixels: NDArray[np.uint16], image_format: str | None, about: _About) -> bytes:
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


def _tiff(pixels: NDArray[np.uint16], about: _About) -> bytes:
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
        tags[_Base.ExtraSamples] = _STRAIGHT
    if about.icc_profile:
        tags[_Base.InterColorProfile] = about.icc_profile
    if about.dpi:
        tags[_Base.XResolution], tags[_Base.YResolution] = about.dpi
        tags[_Base.ResolutionUnit] = _PER_INCH
    return b"".join((_bare(tags), *strips))


def _packed(rows: NDArray[np.uint16]) -> bytes:
    """Compress rows, (H, W, C), of which each pixel is stored as what it adds to the one on its left."""
    return zlib.compress(np.diff(rows, axis=1, prepend=np.uint16(0)).astype("<u2").tobytes())


def _bare(exif: Image.Exif) -> bytes:
    """Return EXIF data without the name that JPEG puts before it."""
    return exif.tobytes().removeprefix(b"Exif\0\0")


def _save(picture: Image.Image, path: Path, image_format: str | None, about: _About) -> None:
    options = _options(picture, image_format, about)
    if picture.mode == "I;16" and image_format not in _DEEP_FORMATS:
        picture = in_eight_bits(np.asarray(picture)[..., None])
    if image_format == "JPEG" and picture.mode in ("RGBA", "LA"):
        picture = _on_white(picture)
    try:
        picture.save(path, image_format, **options)
    except (ValueError, KeyError) as error:
        raise OutputError(f"The format {image_format} can't hold the picture: {error}.") from error


def _options(picture: Image.Image, image_format: str | None, about: _About) -> dict[str, Any]:
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


def _profile(image_format: str | None, about: _About) -> bytes | None:
    """Return the colour profile, but for one of gray where a format makes that RGB."""
    profile = about.icc_profile
    is_gray_profile = profile is not None and profile[_PROFILE_SPACE] == b"GRAY"
    return None if is_gray_profile and image_format in _RGB_FORMATS else profile


def _on_white(picture: Image.Image) -> Image.Image:
    """Lay a picture on white, for formats without transparency."""
    rgba = picture.convert("RGBA")
    laid = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return laid.convert("L" if picture.mode == "LA" else "RGB")
