"""The time of each frame of a video, from its packets and from how a decoder returns them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import pairwise

from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vidx4.media.container import AnyPacket
from vidx4.media.formats.demuxers import DECODER_OPTIONS

_FEW, _ENOUGH, _MOST = 8, 32, 300
"""Packets to decode as a sample: of a video without reordered frames, of others, and until a reordered frame
is seen."""
_HOPELESS = 100_000
"""Packets of which none can be decoded, after which none of the rest is tried: an hour."""
_MAX_DELAY = 16
"""Most places by which H.264 and HEVC decode a frame earlier than they show it."""


@dataclass(frozen=True, slots=True)
class Coded:
    """What a packet of a video states."""

    pts: int | None
    """Time of the frame that it holds; None if none of its own is shown."""
    duration: int
    """Duration of the frame; 0 if unknown."""
    is_tiny: bool = False
    """Whether it is too small for more than a header."""


@dataclass
class Returned:
    """What a decoder made of packets, each known by the number of packets before it."""

    frames: list[int] = field(default_factory=list)
    """The packet of each frame, in the order in which the decoder returned them."""
    failed: set[int] = field(default_factory=set)
    """Packets that could not be decoded."""
    delay: int = 0
    """Most places by which a frame is decoded earlier than it is shown."""
    num_packets: int = 0
    """Number of packets that were decoded; all of their frames are there if `is_complete`."""
    is_complete: bool = False


class Sample:
    """Decodes the first packets of a video, up to some after the first frame.

    Args:
        stream: the video; nothing else may decode it meanwhile.
    """

    def __init__(self, stream: VideoStream) -> None:
        self._stream = stream
        self._is_done = False
        self.first_frame: VideoFrame | None = None
        self.returned = Returned()
        name_packets(stream)

    def add(self, packet: AnyPacket) -> None:
        """Decode the next packet, unless the sample is large enough."""
        if self._is_done:
            return
        number, returned = self.returned.num_packets, self.returned
        returned.num_packets += 1
        set_number(packet, number)
        self._decode(packet, number)
        if not returned.frames:
            self._is_done = number == _HOPELESS
        else:
            self._is_done = self._is_enough(number + 1 - returned.frames[0])

    def _decode(self, packet: "AnyPacket | None", number: int) -> None:
        try:
            for frame in self._stream.decode(packet):
                self.first_frame = self.first_frame or frame
                holder = number_of(frame)
                self.returned.frames.append(number if holder is None else holder)
        except FFmpegError:
            self.returned.failed.add(number)

    def _is_enough(self, num_packets: int) -> bool:
        context = self._stream.codec_context
        if context.codec.intra_only:
            return True
        if not context.reorder_depth and num_packets >= _FEW:
            return True
        is_reordered = any(second < first for first, second in pairwise(self.returned.frames))
        return num_packets >= (_ENOUGH if is_reordered else _MOST)

    def finish(self) -> None:
        """Get the last frames from the decoder, if the video ended within the sample."""
        self.returned.delay = self._stream.codec_context.reorder_depth
        if not self._is_done:
            self._decode(None, self.returned.num_packets)
            self.returned.is_complete = True


def name_packets(stream: VideoStream) -> None:
    """Let the frames of a video tell which packet they are from, by the number that `set_number` gave it.

    The decoder gets no threads. PyAV frees what `opaque` refers to under Python's lock; a thread of dav1d
    that waits for the lock would never end if the main thread closes the decoder meanwhile.
    """
    stream.thread_type = "NONE"
    stream.codec_context.thread_count = 1
    stream.codec_context.copy_opaque = True


def set_number(packet: AnyPacket, number: int) -> None:
    """Give a packet a number, which `number_of` returns for its frame."""
    # PyAV keeps what `opaque` refers to in one dictionary for all decoders, by its `id`: only a new object
    # will do, since small numbers are the same objects everywhere.
    packet.opaque = (number,)


def number_of(frame: VideoFrame) -> int | None:
    """Return the number of the packet that a frame is from; None if its decoder doesn't tell."""
    match frame.opaque:
        case (int(number),):
            return number
    return None


def decode_all(stream: VideoStream, packets: Iterable[AnyPacket]) -> Returned:
    """Decode a whole video to learn which packets hold frames.

    Args:
        stream: the video.
        packets: all packets of its frames.
    """
    sample = _Whole(stream)
    for packet in packets:
        sample.add(packet)
    sample.finish()
    return sample.returned


class _Whole(Sample):
    """A sample of everything; filters that change no more than pixels are left out."""

    def __init__(self, stream: VideoStream) -> None:
        super().__init__(stream)
        stream.codec_context.options = DECODER_OPTIONS | {"skip_loop_filter": "all"}

    def _is_enough(self, num_packets: int) -> bool:
        return False


@dataclass(frozen=True)
class FrameTimes:
    """The frames of a video in the order in which they are shown."""

    pts: tuple[int, ...]
    last_duration: int
    """Duration of the last frame; 0 if unknown."""
    packet_frames: tuple[int, ...]
    """For each packet the index of its frame, -1 if none of its own is shown."""
    is_ordered_by_decoder: bool
    num_leading: int
    num_respaced: int


def are_frames(coded: Sequence[Coded], returned: Returned) -> bool:
    """Return whether a sample shows that each packet with a pts holds one frame.

    The two fields of a frame may be in packets of their own.

    Args:
        coded: the packets of the video.
        returned: what a decoder made of the first ones.
    """
    if not returned.frames:
        return True
    known, first = {*returned.frames, *returned.failed}, returned.frames[0]
    stop = returned.num_packets if returned.is_complete else max(returned.frames) - _MAX_DELAY
    return all(coded[number].pts is None or number in known for number in range(first, stop))


def without_repeats(coded: Sequence[Coded], returned: Returned) -> list[Coded]:
    """Return packets of MPEG-4 without the times of those that only say that nothing changes.

    Tiny packets hold a frame only in streams that pack two frames into the packet before.

    Args:
        coded: the packets of the video.
        returned: what a decoder made of the first ones.
    """
    if any(coded[number].is_tiny for number in returned.frames):
        return list(coded)
    return [replace(packet, pts=None) if packet.is_tiny else packet for packet in coded]


def without_fields(coded: Sequence[Coded], returned: Returned) -> list[Coded]:
    """Return packets without the times of those that a decoder used, but made no frame of.

    Such a packet is the second field of the frame before, which lasts as long as both.

    Args:
        coded: the packets of the video.
        returned: what a decoder made of all of them.
    """
    held = {*returned.frames, *returned.failed}
    joined = list(coded)
    for number, packet in enumerate(coded):
        if number not in held:
            joined[number] = replace(packet, pts=None)
            if number - 1 in held:
                first = coded[number - 1]
                joined[number - 1] = replace(first, duration=first.duration + packet.duration)
    return joined


def frame_times(coded: Sequence[Coded], returned: Returned, *, has_order: bool) -> FrameTimes:
    """Return the frames of a video.

    Frames that are there at the same time are spaced apart. Those before the first that can be decoded are
    left out.

    Args:
        coded: the packets of the video.
        returned: what a decoder made of the first ones, or of all.
        has_order: whether the container states the order in which frames are shown.
    """
    shown = {number: packet.pts for number, packet in enumerate(coded) if packet.pts is not None}
    leading = _leading(shown, returned, has_order=has_order)
    ordered = sorted((pts, number) for number, pts in shown.items() if number not in leading)
    pts = _spaced([time for time, _ in ordered])
    packet_frames = [-1] * len(coded)
    for index, (_, number) in enumerate(ordered):
        packet_frames[number] = index
    places = [packet_frames[number] for number in returned.frames if packet_frames[number] >= 0]
    in_order = _are_shown_in_order([index for index in packet_frames if index >= 0], returned.delay)
    return FrameTimes(
        pts=pts,
        last_duration=coded[ordered[-1][1]].duration if ordered else 0,
        packet_frames=tuple(packet_frames),
        is_ordered_by_decoder=not has_order or not in_order or any(b < a for a, b in pairwise(places)),
        num_leading=len(leading),
        num_respaced=sum(a[0] == b[0] for a, b in pairwise(ordered)),
    )


def _are_shown_in_order(indices: Sequence[int], delay: int) -> bool:
    """Return whether frames can be shown in the order of their times if a decoder holds back only so many.

    Args:
        indices: the places of frames in the order of their times, in the order of decoding.
        delay: most frames that the decoder holds back.
    """
    held: list[int] = []
    last = -1
    for index in indices:
        heappush(held, index)
        if len(held) > delay:
            if held[0] < last:
                return False
            last = heappop(held)
    return True


def _leading(shown: dict[int, int], returned: Returned, *, has_order: bool) -> set[int]:
    """Return the packets whose frames would be shown before the first that the decoder returned."""
    frames = [number for number in returned.frames if number in shown]
    if not frames:
        return set()
    first, known = frames[0], set(frames)
    return {
        number
        for number, pts in shown.items()
        if number not in known and (pts < shown[first] if has_order else number < first)
    }


def _spaced(times: Sequence[int]) -> tuple[int, ...]:
    """Return ascending times in which those that were equal are spread until the next one.

    Where the time base is too coarse for that, they push later times on.
    """
    spaced: list[int] = []
    start = 0
    while start < len(times):
        stop = start
        while stop < len(times) and times[stop] == times[start]:
            stop += 1
        room = times[stop] - times[start] if stop < len(times) else stop - start
        for place in range(stop - start):
            time = times[start] + place * room // (stop - start)
            spaced.append(max(time, spaced[-1] + 1) if spaced else time)
        start = stop
    return tuple(spaced)
