"""Read TIFF pictures of 16 bits per colour, for which Pillow has no mode."""

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from vidx4.errors import SourceError
from vidx4.jobs.job import Pixels
from vidx4.jobs.still.channels import straight
from vidx4.jobs.still.metadata import Metadata, density_of, lasting_exif
from vidx4.jobs.still.metered import open_metered
from vidx4.media.pictures.png16 import read_deep

SIGNATURES = (b"II*\0", b"MM\0*")
"""The first bytes of a TIFF file."""
STRAIGHT = 2
"""Kind of a further channel (`ExtraSamples`): alpha that no colour was multiplied by."""
PER_INCH = 2
"""Value of `ResolutionUnit` for pixels per inch."""
_UNKNOWN, _MULTIPLIED = range(2)
"""Other kinds of a further channel: unspecified, or alpha that the colours were multiplied by."""
_Base = ExifTags.Base
_TILE_BYTES = 325
"""Tag of the sizes of tiles in bytes."""
_TILE_PIXELS = 1 << 24
"""Pixels of the largest tiles of small pictures."""
_BYTES_PER_PIXEL = 16
"""Most bytes of a pixel; twice those of 16-bit RGBA."""


class DeepTiff:
    """The tables of a TIFF file.

    Args:
        path: the file.

    Raises:
        Exception: they are damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tags = Image.Exif()
        with open_metered(path) as file:
            self._tags.load_from_fp(file)
            for ifd in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
                self._tags.get_ifd(ifd)

    @property
    def is_deep(self) -> bool:
        """Whether the pixels have 16 bits per colour, and Pillow has no mode for them."""
        tags = self._tags
        bits, kinds = tags.get(_Base.BitsPerSample), tags.get(_Base.SampleFormat, 1)
        is_gray = not isinstance(bits, tuple) or len(bits) == 1
        if is_gray and _Base.TileWidth in tags:
            return False  # Pillow has a mode for that, and FFmpeg reads no tiles
        is_gray_or_rgb = tags.get(_Base.PhotometricInterpretation) in (0, 1, 2)
        return _values(bits) == {16} and _values(kinds) == {1} and is_gray_or_rgb

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return int(self._tags[_Base.ImageWidth]), int(self._tags[_Base.ImageLength])

    @property
    def orientation(self) -> int:
        """How the picture has to be turned (Exif 2.32, 4.6.4)."""
        orientation: int = self._tags.get(_Base.Orientation, 1)
        return orientation

    def channels(self) -> Pixels:
        """Return the pixels as they are stored.

        Raises:
            SourceError: they are damaged, or stored in a way that can't be read.
            ValueError: they are in strips far larger than the picture.
        """
        if _Base.TileWidth in self._tags:
            raise SourceError(
                f"{self._path} holds 16 bits per colour in tiles: save it in strips, or as PNG."
            )
        check_tiles(self._tags, self.size)
        channels = read_deep(self._path, prod(self.size))
        extra = _values(self._tags.get(_Base.ExtraSamples))
        if _UNKNOWN in extra:
            return channels[..., :-1]
        return straight(channels) if _MULTIPLIED in extra else channels

    def metadata(self) -> Metadata:
        """Return what the file holds beside its pixels."""
        tags = self._tags
        is_per_inch = tags.get(_Base.ResolutionUnit, PER_INCH) == PER_INCH
        dpi = density_of((tags.get(_Base.XResolution), tags.get(_Base.YResolution))) if is_per_inch else None
        return Metadata(lasting_exif(tags, self._path), tags.get(_Base.InterColorProfile), dpi, ())


def check_tiles(tags: Mapping[int, Any], size: tuple[int, int]) -> None:
    """Check that tiles and strips are not far larger than the picture, since each is decoded as a whole.

    Args:
        tags: the tags of a TIFF file.
        size: width and height of the picture.

    Raises:
        ValueError: they are, or damaged.
    """
    width, height = size
    tile = int(tags.get(_Base.TileWidth, width)) * int(tags.get(_Base.TileLength, height))
    stored = sum(_each(tags.get(_TILE_BYTES)) or _each(tags.get(_Base.StripByteCounts)))
    largest = 2 * width * height + _TILE_PIXELS
    if tile > largest or stored > _BYTES_PER_PIXEL * largest:
        raise ValueError("its tiles or strips are far larger than the picture")


def _each(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else () if value is None else (value,)


def _values(value: Any) -> set[Any]:
    return set(_each(value))
