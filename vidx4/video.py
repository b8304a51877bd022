"""A video file and its properties, and a range of it in time."""

from bisect import bisect_left, bisect_right
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

from vidx4.appearance import ColorDescription, HdrMetadata, Margins, Sphere, Stereo
from vidx4.option import Option, Panel
from vidx4.syntax import TIME

_SLIVER = Fraction(1, 1000)
"""Seconds for which a frame at the edge of a range has to be shown."""


class Fields(StrEnum):
    """Treatment of the fields of interlaced frames before these are enlarged."""

    KEEP = "keep"
    """Frames are used as they are."""
    FRAME = "frame"
    """Each frame is deinterlaced, and keeps its time."""
    FIELD = "field"
    """Each field becomes a frame, which doubles the frame rate."""
    FILM = "film"
    """The 3:2 pulldown of film is removed: every five frames become four."""


_INTERNAL = {"is_internal": True}
"""Mark of fields that no JSON shows."""


@dataclass(frozen=True)
class Jump:
    """A place where the timestamps of one stream restart or jump."""

    stream: int
    """Index of the stream."""
    packet: int
    """Number of the stream's packets before the place."""
    shift: Fraction
    """Seconds to add to the stored timestamps from there on."""


@dataclass(frozen=True)
class Clock:
    """What makes the timestamps of a file continuous."""

    jumps: tuple[Jump, ...] = ()
    places: tuple[Fraction, ...] = ()
    """Seconds on the continuous clock at which those of the video restart or jump."""
    moved: int = 0
    """Seconds by which all timestamps are later than stored, since the first ones are negative."""


STEADY = Clock()
"""The clock of a file whose timestamps are continuous as they are."""


@dataclass(frozen=True)
class StreamInfo:
    """One stream of a file."""

    index: int
    kind: str
    """`video`, `audio`, `subtitle`, `attachment` or `data`."""
    codec: str
    """FFmpeg's name of the codec; empty if it has none."""
    details: str = ""
    """A few words that identify the stream: size, channels, rate."""
    language: str = ""
    title: str = ""
    is_default: bool = False
    is_cover: bool = False
    """Whether the stream is a cover picture."""
    is_protected: bool = False
    """Whether the stream is encrypted."""
    is_described: bool = True
    """Whether the headers hold what every container needs, such as the size or rate."""
    start: float | None = None
    """Seconds on the file's clock at which the stream begins; None if the file doesn't tell."""
    tags: tuple[tuple[str, str], ...] = field(default=(), metadata=_INTERNAL)
    """The metadata as it is stored, keys and values."""
    stretches: tuple[tuple[Fraction, Fraction], ...] | None = field(default=None, metadata=_INTERNAL)
    """Where its packets are, `[start, stop)` in seconds of the file's clock; None if that is unknown."""
    most_at_once: int = field(default=0, metadata=_INTERNAL)
    """The most subtitles of the stream that are shown at the same time."""

    @property
    def is_empty(self) -> bool:
        """Whether it is known to have no packet."""
        return self.stretches == ()

    def facts(self) -> dict[str, Any]:
        """Return what identifies the stream, as JSON values."""
        shown = {each.name for each in fields(self) if not each.metadata}
        return {key: value for key, value in asdict(self).items() if key in shown}


@dataclass(frozen=True)
class Source:
    """A video file: its streams, and the presentation time of each frame of the chosen video stream."""

    path: Path
    container: str
    """FFmpeg's name of the container, such as `mov,mp4,m4a,3gp,3g2,mj2`."""
    video_index: int
    """Index of the stream to enlarge."""
    width: int
    height: int
    time_base: Fraction
    """Seconds per unit of pts."""
    pts: tuple[int, ...]
    """Presentation time of each frame, ascending, taken from packets, so damaged frames are included."""
    stop_pts: int
    """End of the last frame."""
    frame_rate: Fraction | None
    """Average frames per second; None for a single frame without a duration."""
    streams: tuple[StreamInfo, ...]
    color: ColorDescription
    """How colours are encoded, with what the file doesn't state filled in."""
    bit_depth: int
    """Bits per colour component, 8 or more."""
    sample_aspect_ratio: Fraction
    """Width of a pixel over its height."""
    rotation: int
    """Degrees counter-clockwise by which a player rotates the picture."""
    is_interlaced: bool
    """Whether headers or the first frame are marked as interlaced."""
    pix_fmt: str = "yuv420p"
    """FFmpeg's name of the pixel format."""
    has_alpha: bool = False
    """Whether pixels of the first frame are transparent."""
    top_field_first: bool | None = None
    """Whether the top field of interlaced frames comes first; None if the file doesn't say."""
    fields: Fields = Fields.KEEP
    """Treatment of fields while decoding; `pts`, `time_base` and `frame_rate` are those after it."""
    untreated: "Source | None" = None
    """The source with frames as they are stored; None if its fields are kept."""
    hdr: HdrMetadata = HdrMetadata()
    display_matrix: tuple[int, ...] | None = None
    """How a player rotates and mirrors the picture, nine numbers in FFmpeg's layout; None for upright."""
    margins: Margins = Margins()
    """Pixels that the container tells players to crop."""
    clock: Clock = STEADY
    packet_frames: tuple[int, ...] | None = None
    """For each packet in the order of the file, the index of its frame in `pts`, -1 if none of its own is
    shown; None if the pts of a decoded frame tells which it is."""
    is_ordered_by_decoder: bool = False
    """Whether the decoder's order of frames counts, since the file doesn't state one, or a wrong one."""
    has_wrong_order: bool = False
    """Whether the file states a wrong order of frames."""
    num_leading: int = 0
    """Number of frames at the beginning that can't be decoded, since the keyframe that they refer to is not
    there; `pts` is without them."""
    num_respaced: int = 0
    """Number of frames that the file shows at the same time as another; `pts` spaces them apart."""
    has_captions: bool = False
    """Whether there are closed captions in the frames of the video."""
    sphere: Sphere | None = None
    """How pictures cover a sphere; None if they are flat."""
    stereo: Stereo | None = None
    """How pictures hold the views of both eyes; None if they hold one view."""
    lost_metadata: tuple[str, ...] = ()
    """Names of metadata of the first frame that an enlarged copy can't carry, besides that of HDR."""
    tags: tuple[tuple[str, str], ...] = ()
    """The metadata of the file as it is stored, keys and values."""
    odd_colors: tuple[str, ...] = ()
    """Colour properties that the file states by codes without a meaning, such as `matrix 0`."""
    stamp: str = ""
    """A value that was there before the file was read, and changes when the file does; see `stamp_of`."""

    @property
    def num_frames(self) -> int:
        """Number of frames, counted by packets."""
        return len(self.pts)

    @property
    def duration(self) -> Fraction:
        """Seconds from the start of the first frame to the end of the last."""
        return (self.stop_pts - self.pts[0]) * self.time_base

    def seconds_of(self, pts: int) -> Fraction:
        """Return a presentation time in seconds from the first frame."""
        return (pts - self.pts[0]) * self.time_base

    @property
    def is_constant_rate(self) -> bool:
        """Whether all frames last equally long, up to rounding to the time base."""
        steps = {b - a for a, b in zip(self.pts, self.pts[1:], strict=False)}
        return not steps or max(steps) - min(steps) <= 1

    def facts(self) -> dict[str, Any]:
        """Return what the file holds, as JSON values; ratios are exact, as in `30000/1001`."""
        return {
            "path": str(self.path),
            "container": self.container,
            "video_stream": self.video_index,
            "width": self.width,
            "height": self.height,
            "sample_aspect_ratio": str(self.sample_aspect_ratio),
            "rotation": self.rotation,
            "margins": asdict(self.margins),
            "num_frames": self.num_frames,
            "duration": float(self.duration),
            "frame_rate": str(self.frame_rate) if self.frame_rate else None,
            "is_constant_rate": self.is_constant_rate,
            "time_base": str(self.time_base),
            "first_pts": self.pts[0],
            "pixel_format": self.pix_fmt,
            "bit_depth": self.bit_depth,
            **asdict(self.color),
            "has_mastering_display": self.hdr.mastering_display is not None,
            "has_content_light": self.hdr.content_light is not None,
            "has_captions": self.has_captions,
            "projection": self.sphere.projection.name.lower() if self.sphere else None,
            "stereo": self.stereo.layout.name.lower() if self.stereo else None,
            "is_interlaced": self.is_interlaced,
            "fields": self.fields.value,
            "streams": [stream.facts() for stream in self.streams],
        }


@dataclass(frozen=True)
class TimeRange:
    """A range of a video, `[start, stop)` in seconds from its first frame; None for no bound."""

    start: Annotated[Fraction | None, Option("Start here.", Panel.INPUT, syntax=TIME, is_common=True)] = None
    stop: Annotated[Fraction | None, Option("Stop here.", Panel.INPUT, syntax=TIME, is_common=True)] = None

    def bounds(self, source: Source) -> tuple[int, int]:
        """Return the time that is shown, `[start, stop)` in the source's pts.

        Bounds between two ticks are rounded up. They move to the next frame, or to the one before, if less
        than a millisecond of a frame is left: containers that count in milliseconds could not show it.
        """
        first = source.pts[0]
        start = first if self.start is None else max(first, first + _ceil(self.start / source.time_base))
        stop = source.stop_pts if self.stop is None else first + _ceil(self.stop / source.time_base)
        return _without_end_of_frame(start, source), _without_begin_of_frame(stop, source)

    def frames(self, source: Source) -> range:
        """Return the indices of the frames on display in the range, the one at its start included."""
        start, stop = self.bounds(source)
        if start >= stop:
            return range(0)
        return range(bisect_right(source.pts, start) - 1, bisect_left(source.pts, stop))

    def pts_bounds(self, source: Source) -> tuple[int, int]:
        """Return bounds `[start, stop)` of the pts of its frames; the first may begin before the range."""
        frames, (start, stop) = self.frames(source), self.bounds(source)
        return (source.pts[frames.start], stop) if frames else (start, start)

    @property
    def is_whole(self) -> bool:
        """Whether the range is the whole video."""
        return self.start is None and self.stop is None


WHOLE = TimeRange()
"""The range of a whole video."""


def _without_end_of_frame(start: int, source: Source) -> int:
    """Return the end of the frame on display at a pts if only a sliver of it is left, otherwise the pts."""
    end = _at(bisect_left(source.pts, start), source)
    return end if end - start < _SLIVER / source.time_base else start


def _without_begin_of_frame(stop: int, source: Source) -> int:
    """Return the start of the frame that a pts cuts off after a sliver, otherwise the pts."""
    index = bisect_left(source.pts, stop)
    start, stop, end = source.pts[max(0, index - 1)], min(stop, source.stop_pts), _at(index, source)
    return start if stop < end and 0 < stop - start < _SLIVER / source.time_base else stop


def _at(index: int, source: Source) -> int:
    """Return the start of a frame; the end of the video for the one after the last."""
    return source.pts[index] if index < source.num_frames else source.stop_pts


def _ceil(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)
