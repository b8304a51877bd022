"""What a decoder tells of a frame beside its pixels."""

from collections.abc import Mapping
from typing import cast

from av.sidedata.sidedata import SideData
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame

_LOST = {
    SideDataType.AFD: "active format description (AFD)",
    SideDataType.AMBIENT_VIEWING_ENVIRONMENT: "ambient viewing environment",
    SideDataType.ICC_PROFILE: "ICC profile",
    SideDataType.S12M_TIMECODE: "timecode in its frames",
}
"""Names of what an enlarged copy can't carry, though players or editors may use it."""
_WHOLE_PICTURE = (b"\0", b"\x08")
"""Values of AFD that say nothing, or that the whole picture matters (ETSI TS 101 154, annex B)."""


def side_data_of(frame: VideoFrame) -> Mapping[SideDataType, bytes]:
    """Return the side data of a frame by its kind."""
    try:
        container = cast(Mapping[SideDataType, SideData], frame.side_data)
    except ValueError:  # PyAV lacks a name for some kinds, such as the EXIF of a JPEG
        return {}
    found = ((kind, container.get(kind)) for kind in SideDataType)
    return {kind: bytes(data) for kind, data in found if data is not None}


def lost_metadata(frame: VideoFrame) -> tuple[str, ...]:
    """Return the names of metadata of a frame that an enlarged copy can't carry."""
    found = side_data_of(frame)
    names = {kind: name for kind, name in _LOST.items() if kind in found}
    if found.get(SideDataType.AFD) in _WHOLE_PICTURE:
        del names[SideDataType.AFD]
    return tuple(names.values())
