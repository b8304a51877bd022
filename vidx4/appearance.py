"""How the pictures of a video are meant to be shown: colours, margins, and shapes other than flat."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

UNSPECIFIED = 2
"""The code that ITU-T H.273 gives a colour property that a file doesn't specify."""


COLOR_NAMES: Mapping[str, Mapping[int, str]] = {
    "matrix": {
        0: "RGB",
        1: "BT.709",
        4: "FCC",
        5: "BT.601 (625 lines)",
        6: "BT.601 (525 lines)",
        7: "SMPTE 240M",
        8: "YCgCo",
        9: "BT.2020",
        10: "BT.2020 with constant luminance",
        11: "SMPTE ST 2085",
        12: "derived from the primaries",
        13: "derived from the primaries, with constant luminance",
        14: "ICtCp",
        15: "IPT-C2",
        16: "YCgCo-Re",
        17: "YCgCo-Ro",
    },
    "primaries": {
        1: "BT.709",
        4: "BT.470 M",
        5: "BT.601 (625 lines)",
        6: "BT.601 (525 lines)",
        7: "SMPTE 240M",
        8: "film",
        9: "BT.2020",
        10: "XYZ",
        11: "DCI-P3",
        12: "Display P3",
        22: "EBU 3213-E",
    },
    "transfer": {
        1: "BT.709",
        4: "gamma 2.2",
        5: "gamma 2.8",
        6: "BT.601",
        7: "SMPTE 240M",
        8: "linear",
        9: "logarithmic, 100:1",
        10: "logarithmic, 316:1",
        11: "xvYCC",
        12: "BT.1361",
        13: "sRGB",
        14: "BT.2020, 10 bits",
        15: "BT.2020, 12 bits",
        16: "PQ",
        17: "SMPTE ST 428",
        18: "HLG",
    },
    "chroma location": {
        0: "not stated",
        1: "left",
        2: "centre",
        3: "top left",
        4: "top",
        5: "bottom left",
        6: "bottom",
    },
}
"""What the codes of colour properties mean, for people; all but the last are those of ITU-T H.273."""


def color_name(name: str, code: int) -> str:
    """Return what a code of a colour property means, for people."""
    if code == UNSPECIFIED and name != "chroma location":
        return "not stated"
    return COLOR_NAMES[name].get(code, f"code {code}")


@dataclass(frozen=True)
class ColorDescription:
    """How a video encodes colours, as codes of ITU-T H.273."""

    matrix: int = UNSPECIFIED
    """MatrixCoefficients: 1 is BT.709, 5 and 6 are BT.601, 9 is BT.2020."""
    primaries: int = UNSPECIFIED
    """ColourPrimaries."""
    transfer: int = UNSPECIFIED
    """TransferCharacteristics: 16 is PQ, 18 is HLG."""
    full_range: bool = False
    """Whether luma uses the full range of codes (JPEG) rather than 16..235 of 255 (MPEG)."""
    chroma_location: int = 0
    """Position of chroma samples relative to luma, an `AVChromaLocation`: 0 is unspecified, 1 left, 2 center,
    3 top left."""

    @property
    def is_hdr(self) -> bool:
        """Whether the transfer function is PQ or HLG."""
        return self.transfer in (16, 18)


@dataclass(frozen=True)
class HdrMetadata:
    """HDR metadata for displays, as bytes of FFmpeg's structures."""

    mastering_display: bytes | None = None
    """An `AVMasteringDisplayMetadata` (SMPTE ST 2086)."""
    content_light: bytes | None = None
    """An `AVContentLightMetadata` (CTA-861.3)."""
    dropped: tuple[str, ...] = ()
    """Names of per-frame metadata, which an enlarged copy can't carry."""


@dataclass(frozen=True)
class Margins:
    """Pixels that players crop from each side of the stored picture; what remains is the clean aperture."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    def __bool__(self) -> bool:
        return self != Margins()


class Projection(IntEnum):
    """How a picture covers a sphere, an `AVSphericalProjection`."""

    EQUIRECTANGULAR = 0
    CUBEMAP = 1
    EQUIRECTANGULAR_TILE = 2
    """A part of the sphere, which `Sphere.bounds` tells."""
    RECTILINEAR = 4
    """Not at all: the picture is flat."""
    OTHER = 255


@dataclass(frozen=True)
class Sphere:
    """How the picture of a 360-degree video covers a sphere."""

    projection: Projection
    orientation: tuple[int, int, int] = (0, 0, 0)
    """Yaw, pitch and roll in degrees (16.16 fixed point)."""
    bounds: tuple[int, ...] = (0, 0, 0, 0)
    """What the tile lacks of the sphere at the left, top, right and bottom (0.32 fixed point)."""
    padding: int = 0
    """Pixels at the edges of a cube's faces that are not shown."""


class StereoLayout(IntEnum):
    """Where a picture holds the views of both eyes, an `AVStereo3DType`."""

    MONO = 0
    SIDE_BY_SIDE = 1
    TOP_BOTTOM = 2
    FRAME_SEQUENCE = 3
    CHECKERBOARD = 4
    LINES = 6
    COLUMNS = 7
    OTHER = 255


@dataclass(frozen=True)
class Stereo:
    """The views of a stereoscopic video in its pictures."""

    layout: StereoLayout
    is_inverted: bool = False
    """Whether the right eye's view comes first."""
