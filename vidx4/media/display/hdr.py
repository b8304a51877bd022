"""Metadata of an HDR master for displays: read from frames, written by encoders and containers."""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from av.sidedata.sidedata import Type as SideDataType

from vidx4.appearance import HdrMetadata
from vidx4.media.display.side_data import SideDataOf

_DYNAMIC = {
    SideDataType.DOVI_METADATA: "Dolby Vision",
    SideDataType.DOVI_RPU_BUFFER: "Dolby Vision",
    SideDataType.DYNAMIC_HDR_PLUS: "HDR10+",
    SideDataType.DYNAMIC_HDR_VIVID: "HDR Vivid",
}
_CHROMATICITY, _LUMINANCE = 50_000, 10_000
"""Steps per unit of x and y, and per candela per square metre (ITU-T H.265, D.3.28)."""
_MASTERING_LAYOUT = struct.Struct("=20i2i")
"""Layout of `AVMasteringDisplayMetadata`: x and y of red, green, blue and white, then the least and the most
luminance, all as fractions; then whether chromaticities and luminances are present."""
_LIGHT_LAYOUT = struct.Struct("=2I")
"""Layout of `AVContentLightMetadata`: the brightest pixel and the brightest mean of a frame, in cd/m²."""


@dataclass(frozen=True)
class _Mastering:
    """A mastering display: chromaticities and luminances as whole numbers in the units of H.265."""

    red: tuple[int, int]
    green: tuple[int, int]
    blue: tuple[int, int]
    white: tuple[int, int]
    darkest: int
    brightest: int


def read_hdr(found: SideDataOf) -> HdrMetadata:
    """Return the HDR metadata of a decoded frame, given its side data."""
    mastering = found.get(SideDataType.MASTERING_DISPLAY_METADATA)
    light = found.get(SideDataType.CONTENT_LIGHT_LEVEL)
    names = (name for kind, name in _DYNAMIC.items() if kind in found)
    return HdrMetadata(mastering, light, tuple(dict.fromkeys(names)))


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
    """Return the options that make an encoder write the metadata into its stream, besides the container.

    NVENC takes the metadata from its frames, to which PyAV can't attach it: its streams have it in the
    container only.
    """
    mastering, light = _mastering(hdr), _light(hdr)
    match encoder:
        case "libx264":
            return _join_params("x264-params", "mastering-display", _in_steps(mastering), "cll", light)
        case "libx265":
            return _join_params("x265-params", "master-display", _in_steps(mastering), "max-cll", light)
        case "libsvtav1":
            units = _in_units(mastering)
            return _join_params("svtav1-params", "mastering-display", units, "content-light", light)
    return {}


def _join_params(
    key: str, mastering_name: str, mastering: str, light_name: str, light: tuple[int, int] | None
) -> dict[str, str]:
    pairs = [f"{mastering_name}={mastering}"] if mastering else []
    if light:
        pairs.append(f"{light_name}={light[0]},{light[1]}")
    return {key: ":".join(pairs)} if pairs else {}


def _in_steps(mastering: _Mastering | None) -> str:
    """Return a mastering display as x264 and x265 take it, in whole steps."""
    return "" if mastering is None else _describe(mastering, lambda value, _: value)


def _in_units(mastering: _Mastering | None) -> str:
    """Return a mastering display as SVT-AV1 takes it, in decimal units."""
    return "" if mastering is None else _describe(mastering, lambda value, steps: value / steps)


def _describe(mastering: _Mastering, convert: Callable[[int, int], float]) -> str:
    """Return a mastering display in the notation of encoders; `convert` takes steps and steps per unit."""
    points = {"G": mastering.green, "B": mastering.blue, "R": mastering.red, "WP": mastering.white}
    colors = (
        f"{name}({convert(x, _CHROMATICITY)},{convert(y, _CHROMATICITY)})" for name, (x, y) in points.items()
    )
    most, least = (convert(value, _LUMINANCE) for value in (mastering.brightest, mastering.darkest))
    return "".join(colors) + f"L({most},{least})"


def to_boxes(hdr: HdrMetadata) -> bytes:
    """Return the metadata as MP4 boxes (ISO/IEC 14496-12, 12.1.8 and 12.1.9); empty if there is none."""
    mastering, light = _mastering(hdr), _light(hdr)
    boxes = b""
    if mastering:
        points = (*mastering.green, *mastering.blue, *mastering.red, *mastering.white)
        content = struct.pack(">8H2I", *points, mastering.brightest, mastering.darkest)
        boxes += struct.pack(">I4s", 8 + len(content), b"mdcv") + content
    if light:
        boxes += struct.pack(">I4s2H", 12, b"clli", *light)
    return boxes


def is_same_hdr(expected: HdrMetadata, actual: HdrMetadata) -> bool:
    """Return whether static metadata is equal, within the steps in which it is stored."""
    return (_mastering(expected), _light(expected)) == (_mastering(actual), _light(actual))
