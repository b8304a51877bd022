"""Which frame of a source each decoded frame is, where its own pts doesn't tell."""

from collections import deque
from typing import Protocol

from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from vidx4.media.timing.frame_times import number_of
from vidx4.video import Source


class FrameIndex(Protocol):
    """Gives decoded frames their times; packets are known by the number of packets before them."""

    def feed(self, packet: int) -> None:
        """Record that a packet goes to the decoder."""

    def fail(self, packet: int) -> None:
        """Record that a packet can't be decoded: its frame takes its time with it."""

    def time_of(self, frame: VideoFrame) -> int | None:
        """Return the time of the next frame from the decoder; None if it is not one of the source's."""


def frame_index(source: Source, context: VideoCodecContext) -> FrameIndex:
    """Return what gives the frames of a source their times, decoded from the beginning.

    Args:
        source: the source.
        context: its decoder.
    """
    if source.packet_frames is None:
        return _Stated()
    return (_ByOrder if source.is_ordered_by_decoder else _ByPacket)(source, source.packet_frames, context)


class _Stated:
    """The pts of a frame is its time."""

    def feed(self, packet: int) -> None:
        """Do nothing: a frame tells its time itself."""

    def fail(self, packet: int) -> None:
        """Do nothing: a frame tells its time itself."""

    def time_of(self, frame: VideoFrame) -> int | None:
        """Return the pts that the container states."""
        return frame.pts


class _ByPacket:
    """The packet of a frame tells its time."""

    def __init__(self, source: Source, frames: tuple[int, ...], context: VideoCodecContext) -> None:
        self._source, self._frames = source, frames

    def feed(self, packet: int) -> None:
        """Do nothing: a frame tells its packet itself."""

    def fail(self, packet: int) -> None:
        """Do nothing: no other frame takes the time of this one."""

    def time_of(self, frame: VideoFrame) -> int | None:
        """Return the time of the frame that the packet holds."""
        index = _of(self._frames, frame)
        return None if index is None else self._source.pts[index]


class _ByOrder:
    """A decoder returns frames in the order in which they are shown, so each takes the next time.

    A packet that can't be decoded takes the time of its frame with it. So does one that is decoded, but not
    returned: the decoder holds back no more than it needs to reorder frames.
    """

    def __init__(self, source: Source, frames: tuple[int, ...], context: VideoCodecContext) -> None:
        self._source, self._frames, self._context = source, frames, context
        self._next = 0
        self._gone: dict[int, int] = {}
        """Frames that will not come, by their packets."""
        self._waiting: deque[int] = deque()
        """Packets whose frames have not come out."""

    def feed(self, packet: int) -> None:
        """Record that a packet goes to the decoder."""
        depth = self._context.reorder_depth
        while len(self._waiting) > (depth + 1 if depth else 0):
            self.fail(self._waiting[0])
        if packet < len(self._frames) and self._frames[packet] >= 0:
            self._waiting.append(packet)

    def fail(self, packet: int) -> None:
        """Record that a packet can't be decoded: its frame takes its time with it."""
        if packet in self._waiting:
            self._waiting.remove(packet)
            # If another frame has its time already, that of the next one is left.
            self._gone[packet] = max(self._frames[packet], self._next)

    def time_of(self, frame: VideoFrame) -> int | None:
        """Return the next time."""
        packet = number_of(frame)
        if packet is None:
            return None
        if packet in self._waiting:
            self._waiting.remove(packet)
        elif self._gone.pop(packet, None) is None:  # otherwise it was given up too early
            return None  # the decoder repeats a frame
        while self._next in self._gone.values():
            self._next += 1
        self._next += 1
        return self._source.pts[self._next - 1]


def _of(frames: tuple[int, ...], frame: VideoFrame) -> int | None:
    """Return the index of the frame that a decoded frame is; None if it is none of the source's."""
    packet = number_of(frame)
    if packet is None or packet >= len(frames):
        return None
    return frames[packet] if frames[packet] >= 0 else None
