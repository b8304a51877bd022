"""What a decoder tells of a frame beside its pixels."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from typing import TypeAlias, cast

from av.error import BlockingIOError as BlockingError
from av.error import EOFError as EndOfFileError
from av.filter import Graph
from av.sidedata.sidedata import SideData
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame

SideDataOf: TypeAlias = Mapping[SideDataType, bytes]
"""Side data of a frame by its kind."""
_PROFILE = SideDataType.ICC_PROFILE
_UNSAFE = (_PROFILE.value, *sorted(set(range(64)) - {kind.value for kind in SideDataType}))
"""Kinds of side data that PyAV can't be given: FFmpeg has about 30, and appends new ones."""
_LOST = {
    SideDataType.AFD: "active format description (AFD)",
    SideDataType.AMBIENT_VIEWING_ENVIRONMENT: "ambient viewing environment",
    SideDataType.ICC_PROFILE: "ICC profile",
    SideDataType.S12M_TIMECODE: "timecode in its frames",
}
"""Names of what an enlarged copy can't carry, though players or editors may use it."""
_WHOLE_PICTURE = (b"\0", b"\x08")
"""Values of AFD that say nothing, or that the whole picture matters (ETSI TS 101 154, annex B)."""


class SideDataReader:
    """Reads the side data of frames that look alike.

    PyAV crashes or fails on some of it: it frees the metadata of a colour profile that the frame frees again,
    and raises an error about kinds that it has no name for, such as the EXIF of a picture. So FFmpeg removes
    both from a copy of the frame first.
    """

    def __init__(self) -> None:
        self._format: tuple[int, int, str] | None = None

    def read(self, frame: VideoFrame) -> SideDataOf:
        """Return the side data of a frame by its kind; a colour profile is empty."""
        form = frame.width, frame.height, frame.format.name
        if form != self._format:
            self._without_unsafe = _graph(frame, [f"mode=delete:type={kind}" for kind in _UNSAFE])
            self._with_profile = _graph(frame, [f"mode=select:type={_PROFILE.value}"])
            self._format = form
        container = cast(Mapping[SideDataType, SideData], _filtered(self._without_unsafe, frame).side_data)
        found = ((kind, container.get(kind)) for kind in SideDataType)
        return {**{kind: bytes(data) for kind, data in found if data is not None}, **self._profile(frame)}

    def _profile(self, frame: VideoFrame) -> SideDataOf:
        with suppress(BlockingError, EndOfFileError):  # the frame was not selected
            _filtered(self._with_profile, frame)
            return {_PROFILE: b""}
        return {}


def _graph(frame: VideoFrame, filters: Sequence[str]) -> Graph:
    """Return a filter graph that frames go through: `sidedata` with some options each time."""
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1)
    )
    graph.link_nodes(source, *(graph.add("sidedata", each) for each in filters), graph.add("buffersink"))
    graph.configure()
    return graph


def _filtered(graph: Graph, frame: VideoFrame) -> VideoFrame:
    graph.push(frame)
    filtered = graph.pull()
    assert isinstance(filtered, VideoFrame)
    return filtered


def lost_metadata(found: SideDataOf) -> tuple[str, ...]:
    """Return the names of metadata of a frame that an enlarged copy can't carry, given its side data."""
    names = {kind: name for kind, name in _LOST.items() if kind in found}
    if found.get(SideDataType.AFD) in _WHOLE_PICTURE:
        del names[SideDataType.AFD]
    return tuple(names.values())
