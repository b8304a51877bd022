"""What a file holds that is one still picture, upright, with what lasts of its metadata."""

import logging
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from vidx4.diffusion.picture import straight, upright
from vidx4.errors import SourceError
from vidx4.media.pictures.animated_webp import is_animation
from vidx4.media.pictures.png16 import Chunk, color_chunks, read_deep

_logger = logging.getLogger(__name__)

_ANIMATIONS = {"AVIF", "FLI", "GIF", "PNG", "WEBP"}
"""Formats whose further images are frames, not thumbnails, pages or views from another lens."""
_PNG, _JPEG, _TIFFS = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", (b"II*\0", b"MM\0*")
_MANY_BYTES = 4096
"""That hold all that comes before the pixels, most often."""
_PNG_DEPTH = 24
"""Where a PNG file tells its bits per colour."""
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
_OPAQUE = 65535
_UNKNOWN, _MULTIPLIED, STRAIGHT = range(3)
"""What a further channel of a TIFF file is: nobody knows, or alpha."""
PER_INCH = 2
"""How a TIFF file says that it counts pixels per inch."""


@dataclass(frozen=True)
class About:
    """What a picture holds beside its pixels."""

    exif: Image.Exif
    icc_profile: bytes | None
    dpi: tuple[float, float] | None
    color_chunks: tuple[Chunk, ...]
    """What a PNG file says of its colours."""


@dataclass(frozen=True)
class Still:
    """A picture that was read: as Pillow has it, or in 16 bits, which Pillow often has not, upright."""

    pixels: Image.Image | NDArray[np.uint16]
    about: About

    @property
    def is_deep(self) -> bool:
        """Whether it has 16 bits per colour."""
        return not isinstance(self.pixels, Image.Image) or self.pixels.mode.startswith("I")

    @property
    def bit_depth(self) -> int:
        """Bits per colour."""
        return 16 if self.is_deep else 8

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        if isinstance(self.pixels, Image.Image):
            return self.pixels.size
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def has_alpha(self) -> bool:
        """Whether a pixel is not opaque: some formats leave alpha away where all are."""
        if not isinstance(self.pixels, Image.Image):
            return self.pixels.shape[2] in (2, 4) and int(self.pixels[..., -1].min()) < _OPAQUE
        return self.pixels.has_transparency_data and self.pixels.convert("RGBA").getchannel(
            "A"
        ).getextrema() != (255, 255)


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


def _quietly() -> "warnings.catch_warnings[None]":
    """Pass over what Pillow says to programmers, of odd EXIF data and pictures that are merely large."""
    return warnings.catch_warnings(action="ignore")


def read_enlarged(path: Path) -> Still:
    """Read a picture that was enlarged, and so may be larger than any source.

    Raises:
        SourceError: it is damaged or of a rare kind.
    """
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        return read_still(path)
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def read_still(path: Path) -> Still:
    """Read a picture.

    Raises:
        SourceError: it is damaged, of a rare kind or far too large.
    """
    try:
        with _quietly():
            return _read_deep(path) if _has_deep_pixels(path) else _read_plain(path)
    except UnidentifiedImageError as error:
        raise SourceError(f"{path} can't be read as a picture: it is damaged, or of a rare kind.") from error
    except (*_DAMAGE, Image.DecompressionBombError) as error:
        raise SourceError(f"{path} can't be read as a picture: {error}.") from error


def _read_plain(path: Path) -> Still:
    # From an open file: of one that it opens itself, Pillow scrambles TIFF pictures that are to be turned.
    with path.open("rb") as file, Image.open(file) as picture:
        picture.load()
        turned = ImageOps.exif_transpose(picture)
        turned.info = {key: value for key, value in turned.info.items() if key in _READ_WITH_PIXELS}
        return Still(turned, _about(picture, path))


def _about(picture: Image.Image, path: Path) -> About:
    # A profile of another colour space would be wrong for the result, which is RGB.
    icc_profile = picture.info.get("icc_profile") if picture.mode not in ("CMYK", "LAB") else None
    density = _density(picture.info.get("dpi"))
    return About(_lasting_exif(picture.getexif(), path), icc_profile, density, color_chunks(path))


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


def _read_deep(path: Path) -> Still:
    with path.open("rb") as file:
        is_tiff = file.read(4) in _TIFFS
    if is_tiff:
        return _read_deep_tiff(path)
    with Image.open(path) as picture:
        picture.load()
        orientation = picture.getexif().get(_Base.Orientation, 1)
        return Still(upright(read_deep(path), orientation), _about(picture, path))


def _read_deep_tiff(path: Path) -> Still:
    tags = _tiff_tags(path)
    if _Base.TileWidth in tags:
        raise SourceError(f"{path} holds 16 bits per colour in tiles: save it in strips, or as PNG.")
    pixels = read_deep(path)
    extra = _values(tags.get(_Base.ExtraSamples))
    if _UNKNOWN in extra:
        pixels = pixels[..., :-1]
    elif _MULTIPLIED in extra:
        pixels = straight(pixels)
    is_per_inch = tags.get(_Base.ResolutionUnit, PER_INCH) == PER_INCH
    density = _density((tags.get(_Base.XResolution), tags.get(_Base.YResolution))) if is_per_inch else None
    about = About(_lasting_exif(tags, path), tags.get(_Base.InterColorProfile), density, ())
    return Still(upright(pixels, tags.get(_Base.Orientation, 1)), about)


def _values(value: Any) -> set[Any]:
    return set(value if isinstance(value, tuple) else (value,))
