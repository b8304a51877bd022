"""Open a file and read its packets, with errors written for the user."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream

from vidx4.errors import SourceError
from vidx4.media.animation import is_animation, open_animation
from vidx4.media.sequence import is_sequence, open_sequence

_logger = logging.getLogger(__name__)

AnyPacket: TypeAlias = "Packet[Stream]"
"""A packet of any kind of stream; PyAV's class has a type parameter in its stubs only."""

BITEXACT = {"fflags": "+bitexact", "avoid_negative_ts": "disabled"}
"""Options of a muxer: write no date, version or random number, and leave every timestamp as it is."""
_UNORDERED = frozenset({"avi", "h264", "hevc", "m4v", "mpegvideo"})
_PATIENCE = 120.0
"""Seconds after which a file that can't be opened or read on is given up."""
_NOT_VIDEOS = frozenset({"tty"})
"""Demuxers that make a picture of anything: `tty` draws a text file."""


def open_source(path: Path) -> InputContainer:
    """Open a file, or numbered pictures, for reading.

    Raises:
        SourceError: the file is missing, unreadable, or of no known format.
    """
    if is_sequence(path):
        return open_sequence(path)
    _check_readable(path)
    if is_animation(path):
        return open_animation(path)
    try:
        # An absolute path has no protocol: a file may be called `http:x.mp4`.
        container = av.open(str(path.absolute()), metadata_errors="replace", timeout=_PATIENCE)
    except FFmpegError as error:
        raise SourceError(
            f"{path} can't be read as a video: it is of another kind, or cut off before its index "
            f"({error.strerror})."
        ) from error
    if container.format.name in _NOT_VIDEOS:
        container.close()
        raise SourceError(f"{path} is not a video.")
    return container


def _check_readable(path: Path) -> None:
    try:
        if path.is_dir():
            raise SourceError(f"{path} is a folder, and holds no numbered pictures.")
        if not path.exists():
            raise SourceError(f"{path} does not exist.")
        if not path.is_file():
            raise SourceError(f"{path} is not a file.")
        if path.stat().st_size == 0:
            raise SourceError(f"{path} is empty.")
        path.open("rb").close()
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror}.") from error


def knows_order(container: InputContainer) -> bool:
    """Return whether a container tells in which order frames are shown, and not only decoded."""
    return container.format.name not in _UNORDERED


def packet_pts(container: InputContainer, packet: AnyPacket, index: int) -> int:
    """Return when a frame is shown: that of the packet, or, without `knows_order`, one of those around it.

    Args:
        container: where the packet is from.
        packet: of a video.
        index: the number of packets before it.
    """
    pts = packet.pts if knows_order(container) else packet.dts  # FFmpeg would guess a pts
    pts = packet.dts if pts is None else pts
    return index * (packet.duration or 1) if pts is None else pts


def read_packets(container: InputContainer, *streams: Stream) -> Iterator[AnyPacket]:
    """Yield the packets of some streams in the order of the file, which ends where it can't be read on."""
    try:
        for packet in container.demux(streams):
            if packet.size or packet.dts is not None:  # and not the empty one that flushes a decoder
                yield packet
    except FFmpegError as error:
        _logger.warning("%s can't be read to its end: %s", container.name, error.strerror)


def read_frame_packets(container: InputContainer, stream: Stream) -> Iterator[AnyPacket]:
    """Yield the packets of a video that hold a frame.

    Theora shows a frame for longer by empty packets; to a decoder, one would mean the end of the stream.
    """
    return (packet for packet in read_packets(container, stream) if packet.size)
