"""What a still picture holds beside its pixels, as far as it stays true of an enlarged copy."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from vidx4.media.pictures.png16 import Chunk

_logger = logging.getLogger(__name__)

_MAX_EXIF_SIZE = 1 << 20
"""Most bytes of EXIF data that are read; cameras write less than the 64 kB that a JPEG file holds."""
_Base = ExifTags.Base
_LASTING = (
    *(_Base.DocumentName, _Base.ImageDescription, _Base.Make, _Base.Model, _Base.Software, _Base.DateTime),
    *(_Base.Artist, _Base.HostComputer, _Base.Copyright, _Base.Rating, _Base.RatingPercent, _Base.XPTitle),
    *(_Base.XPComment, _Base.XPAuthor, _Base.XPKeywords, _Base.XPSubject),
)
"""EXIF tags that stay true of an enlarged picture. The orientation does not: the copy is upright."""
_STALE = (_Base.ExifImageWidth, _Base.ExifImageHeight, ExifTags.IFD.Interop)
"""Tags of the other EXIF tables that are dropped: sizes, and the offset of a table."""


@dataclass(frozen=True)
class Metadata:
    """What a picture holds beside its pixels."""

    exif: Image.Exif
    icc_profile: bytes | None
    dpi: tuple[float, float] | None
    """Pixels per inch, across and down."""
    color_chunks: tuple[Chunk, ...]
    """The chunks of a PNG file that describe its colours."""


def density_of(dpi: Any) -> tuple[float, float] | None:
    """Return pixels per inch, across and down; None if a file tells nothing that makes sense."""
    try:
        across, down = (float(density) for density in dpi)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return (across, down) if 0 < across < 1 << 16 and 0 < down < 1 << 16 else None


def lasting_exif(exif: Image.Exif, path: Path) -> Image.Exif:
    """Return the EXIF data that stays true of an enlarged picture."""
    try:
        lasting = _lasting(exif)
        is_too_long = len(lasting.tobytes()) > _MAX_EXIF_SIZE
    except Exception:  # whatever Pillow raises for damaged data
        is_too_long = True
    if is_too_long:
        _logger.warning("The EXIF data of %s is damaged, and is dropped.", path)
        return Image.Exif()
    return lasting


def _lasting(exif: Image.Exif) -> Image.Exif:
    lasting = Image.Exif()
    lasting.endian = "<"
    for tag in _LASTING:
        if tag in exif:
            lasting[tag] = exif[tag]
    for ifd in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if tags := {tag: value for tag, value in exif.get_ifd(ifd).items() if tag not in _STALE}:
            lasting[ifd] = tags
    return lasting
