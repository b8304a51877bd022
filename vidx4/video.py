"""What a video file holds, and a part of it in time."""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Annotated

from vidx4.option import Option, Panel
from vidx4.syntax import TIME

UNSPECIFIED = 2
"""The code of ITU-T H.273 for a colour property that a file doesn't state."""


@dataclass(frozen=True)
class ColorDescription:
    """How a video's numbers stand for colours, as codes of ITU-T H.273."""

    matrix: int = UNSPECIFIED
    """MatrixCoefficients: 1 is BT.709, 5 and 6 are BT.601, 9 is BT.2020."""
    primaries: int = UNSPECIFIED
    """ColourPrimaries."""
    transfer: int = UNSPECIFIED
    """TransferCharacteristics: 16 is PQ, 18 is HLG."""
    full_range: bool = False
    """Whether luma runs over the full range of codes (JPEG) and not over 16..235 of 255 (MPEG)."""
    chroma_location: int = 0
    """Where chroma samples lie among those of luma, an `AVChromaLocation`: 0 is unstated, 1 left, 2 center,
    3 top left."""

    @property
    def is_hdr(self) -> bool:
        """Whether the transfer function is PQ or HLG."""
        return self.transfer in (16, 18)


@dataclass(frozen=True)
class HdrMetadata:
    """What a display needs to know of an HDR master, as FFmpeg's structures hold it."""

    mastering_display: bytes | None = None
    """An `AVMasteringDisplayMetadata` (SMPTE ST 2086)."""
    content_light: bytes | None = None
    """An `AVContentLightMetadata` (CTA-861.3)."""
    dropped: tuple[str, ...] = ()
    """Names of metadata that changes from frame to frame, which an enlarged copy can't carry."""


@dataclass(frozen=True)
class Margins:
    """What players leave away around a stored picture, in pixels; what they show is the clean aperture."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    def __bool__(self) -> bool:
        return self != Margins()


class Fields(StrEnum):
    """What becomes of the fields of interlaced frames before these are enlarged."""

    KEEP = "keep"
    """Frames are taken as they are."""
    FRAME = "frame"
    """Each frame is made whole at its own time."""
    FIELD = "field"
    """Each field becomes a frame: there are twice as many."""
    FILM = "film"
    """The 3:2 pulldown of film is undone: there are four frames for every five."""


@dataclass(frozen=True)
class StreamInfo:
    """One stream of a file."""

    index: int
    kind: str
    """`video`, `audio`, `subtitle`, `attachment` or `data`."""
    codec: str
    """FFmpeg's name of the codec; empty where it has none."""
    details: str = ""
    """What distinguishes it, in a few words: size, channels, rate."""
    language: str = ""
    title: str = ""
    is_default: bool = False
    is_cover: bool = False
    """Whether it is a picture that stands for the file."""
    is_protected: bool = False
    """Whether it is encrypted."""
    is_described: bool = True
    """Whether headers tell what every container has to know of it, such as its size or rate."""


@dataclass(frozen=True)
class Source:
    """A video file: its streams, and when each frame of the chosen video stream is shown."""

    path: Path
    container: str
    """FFmpeg's name of the container, such as `mov,mp4,m4a,3gp,3g2,mj2`."""
    video_index: int
    """The stream that is enlarged."""
    width: int
    height: int
    time_base: Fraction
    """Seconds per unit of pts."""
    pts: tuple[int, ...]
    """When each frame is shown, ascending, from the packets: damaged frames count, too."""
    stop_pts: int
    """When the last frame ends."""
    frame_rate: Fraction | None
    """Frames per second on average; None for a single frame without a duration."""
    streams: tuple[StreamInfo, ...]
    color: ColorDescription
    bit_depth: int
    """Bits per colour component, 8 or more."""
    sample_aspect_ratio: Fraction
    """Width of a pixel over its height."""
    rotation: int
    """Degrees counter-clockwise by which a player turns the picture."""
    is_interlaced: bool
    """Whether headers or the first frame say so."""
    pix_fmt: str = "yuv420p"
    """FFmpeg's name of how pixels are stored."""
    has_alpha: bool = False
    """Whether pixels of the first frame are transparent."""
    top_field_first: bool | None = None
    """Which field of an interlaced frame is the earlier one; None where nothing says so."""
    fields: Fields = Fields.KEEP
    """What is done about fields while decoding; `pts`, `time_base` and `frame_rate` are those after it."""
    untreated: "Source | None" = None
    """The same with frames as they are stored, where something is done about fields."""
    hdr: HdrMetadata = HdrMetadata()
    display_matrix: tuple[int, ...] | None = None
    """How a player turns and mirrors the picture, nine numbers in FFmpeg's layout; None for upright."""
    margins: Margins = Margins()
    """What the container tells players to leave away."""

    @property
    def num_frames(self) -> int:
        """Number of frames by the packets of the video stream."""
        return len(self.pts)

    @property
    def duration(self) -> Fraction:
        """Seconds from the start of the first frame to the end of the last."""
        return (self.stop_pts - self.pts[0]) * self.time_base

    def seconds_of(self, pts: int) -> Fraction:
        """Return when something is shown, in seconds from the first frame."""
        return (pts - self.pts[0]) * self.time_base

    @property
    def is_constant_rate(self) -> bool:
        """Whether all frames are shown for equally long, within the rounding of the time base."""
        steps = {b - a for a, b in zip(self.pts, self.pts[1:], strict=False)}
        return not steps or max(steps) - min(steps) <= 1


@dataclass(frozen=True)
class TimeRange:
    """A part of a video, `[start, stop)` in seconds from its first frame; None for no bound."""

    start: Annotated[Fraction | None, Option("Start here.", Panel.INPUT, syntax=TIME, is_common=True)] = None
    stop: Annotated[Fraction | None, Option("Stop here.", Panel.INPUT, syntax=TIME, is_common=True)] = None

    def pts_bounds(self, source: Source) -> tuple[int, int]:
        """Return the bounds `[start, stop)` in the source's pts."""
        first = source.pts[0]
        start = first if self.start is None else first + _ceil(self.start / source.time_base)
        stop = source.stop_pts if self.stop is None else first + _ceil(self.stop / source.time_base)
        return start, min(stop, source.stop_pts)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is cut off."""
        return self.start is None and self.stop is None


WHOLE = TimeRange()
"""All of a video."""


def _ceil(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)
