"""What displays need to know of an HDR master: read from frames, written by encoders and containers."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

from av.sidedata.sidedata import SideData
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame

from vidx4.video import HdrMetadata

_DYNAMIC = {
    SideDataType.DOVI_METADATA: "Dolby Vision",
    SideDataType.DOVI_RPU_BUFFER: "Dolby Vision",
    SideDataType.DYNAMIC_HDR_PLUS: "HDR10+",
    SideDataType.DYNAMIC_HDR_VIVID: "HDR Vivid",
}
_CHROMATICITY, _LUMINANCE = 50_000, 10_000
"""Steps per unit of x and y, and per candela per square metre (ITU-T H.265, D.3.28)."""
_MASTERING_LAYOUT = struct.Struct("=20i2i")
"""`AVMasteringDisplayMetadata`: x and y of red, green, blue and white, least and most luminance, all as
fractions; whether chromaticities and luminances are there."""
_LIGHT_LAYOUT = struct.Struct("=2I")
"""`AVContentLightMetadata`: the brightest pixel, and the brightest mean of a frame, in cd/m²."""


@dataclass(frozen=True)
class _Mastering:
    """A mastering display in the units of H.265, as whole numbers."""

    red: tuple[int, int]
    green: tuple[int, int]
    blue: tuple[int, int]
    white: tuple[int, int]
    darkest: int
    brightest: int


def read_hdr(frame: VideoFrame) -> HdrMetadata:
    """Return what a decoded frame tells of its master."""
    found = dict(_side_data(frame))
    mastering = found.get(SideDataType.MASTERING_DISPLAY_METADATA)
    light = found.get(SideDataType.CONTENT_LIGHT_LEVEL)
    names = (name for kind, name in _DYNAMIC.items() if kind in found)
    return HdrMetadata(mastering, light, tuple(dict.fromkeys(names)))


def _side_data(frame: VideoFrame) -> Iterator[tuple[SideDataType, bytes]]:
    try:
        container = cast(Mapping[SideDataType, SideData], frame.side_data)
    except ValueError:  # PyAV knows no name for some of it, such as the EXIF of a JPEG
        return
    for kind in SideDataType:
        data = container.get(kind)
        if data is not None:
            yield kind, bytes(data)


def _mastering(hdr: HdrMetadata) -> _Mastering | None:
    if hdr.mastering_display is None:
        return None
    *numbers, has_chromaticity, has_luminance = _MASTERING_LAYOUT.unpack_from(hdr.mastering_display)
    if not (has_chromaticity and has_luminance):
        return None
    values = [Fraction(a, b) if b else Fraction(0) for a, b in zip(numbers[::2], numbers[1::2], strict=True)]
    xy = [round(value * _CHROMATICITY) for value in values[:8]]
    red, green, blue, white = zip(xy[::2], xy[1::2], strict=True)
    darkest, brightest = (round(value * _LUMINANCE) for value in values[8:])
    return _Mastering(red, green, blue, white, darkest, brightest)


def _light(hdr: HdrMetadata) -> tuple[int, int] | None:
    return None if hdr.content_light is None else _LIGHT_LAYOUT.unpack_from(hdr.content_light)


def encoder_options(hdr: HdrMetadata, encoder: str) -> dict[str, str]:
    """Return what makes an encoder write the metadata into its stream, besides what the container holds.

    NVENC takes it from its frames, to which PyAV can't add it: there, the container alone tells.
    """
    mastering, light = _mastering(hdr), _light(hdr)
    match encoder:
        case "libx264":
            return _joined("x264-params", "mastering-display", _in_steps(mastering), "cll", light)
        case "libx265":
            return _joined("x265-params", "master-display", _in_steps(mastering), "max-cll", light)
        case "libsvtav1":
            units = _in_units(mastering)
            return _joined("svtav1-params", "mastering-display", units, "content-light", light)
    return {}


def _joined(
    key: str, mastering_name: str, mastering: str, light_name: str, light: tuple[int, int] | None
) -> dict[str, str]:
    pairs = [f"{mastering_name}={mastering}"] if mastering else []
    if light:
        pairs.append(f"{light_name}={light[0]},{light[1]}")
    return {key: ":".join(pairs)} if pairs else {}


def _in_steps(mastering: _Mastering | None) -> str:
    if mastering is None:
        return ""
    points = {"G": mastering.green, "B": mastering.blue, "R": mastering.red, "WP": mastering.white}
    luminance = f"L({mastering.brightest},{mastering.darkest})"
    return "".join(f"{name}({x},{y})" for name, (x, y) in points.items()) + luminance


def _in_units(mastering: _Mastering | None) -> str:
    if mastering is None:
        return ""
    points = {"G": mastering.green, "B": mastering.blue, "R": mastering.red, "WP": mastering.white}
    colors = (f"{name}({x / _CHROMATICITY},{y / _CHROMATICITY})" for name, (x, y) in points.items())
    return "".join(colors) + f"L({mastering.brightest / _LUMINANCE},{mastering.darkest / _LUMINANCE})"


def to_boxes(hdr: HdrMetadata) -> bytes:
    """Return the metadata as boxes of MP4 (ISO/IEC 14496-12, 12.1.8 and 12.1.9); empty for none."""
    mastering, light = _mastering(hdr), _light(hdr)
    boxes = b""
    if mastering:
        points = (*mastering.green, *mastering.blue, *mastering.red, *mastering.white)
        content = struct.pack(">8H2I", *points, mastering.brightest, mastering.darkest)
        boxes += struct.pack(">I4s", 8 + len(content), b"mdcv") + content
    if light:
        boxes += struct.pack(">I4s2H", 12, b"clli", *light)
    return boxes


def is_same_hdr(given: HdrMetadata, found: HdrMetadata) -> bool:
    """Return whether static metadata is equal within the steps in which it is stored."""
    return (_mastering(given), _light(given)) == (_mastering(found), _light(found))
