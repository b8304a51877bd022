"""One pass over the packets of a file: its clock, and the time of each frame."""

import logging
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vidx4.errors import SourceError
from vidx4.media.container import (
    AnyPacket,
    knows_order,
    open_source,
    packet_pts,
    read_frame_packets,
    read_packets,
)
from vidx4.media.formats.cc_data import caption_marks
from vidx4.media.formats.limits import MAX_FRAMES, MAX_JUMPS, MAX_PIXELS
from vidx4.media.stall import Pulse
from vidx4.media.timing.clock import ClockScan
from vidx4.media.timing.frame_times import (
    Coded,
    FrameTimes,
    Returned,
    Sample,
    are_frames,
    decode_all,
    frame_times,
    without_fields,
    without_repeats,
)
from vidx4.media.tracks.presence import Presence
from vidx4.video import STEADY, Clock

_logger = logging.getLogger(__name__)

_VP8_SHOWN = 0x10
"""Bit of the first byte of a VP8 frame that is shown (RFC 6386, 9.1)."""

_FIRST = 32
"""Packets among which the one is whose frame is shown first."""
_MAX_EMPTY_VOP = 19
"""Most bytes of an MPEG-4 packet that only says that the picture stays as it is (`vop_coded` is 0)."""


@dataclass(frozen=True)
class Scan:
    """The results of one pass over the packets of a file."""

    first_frame: VideoFrame
    times: FrameTimes
    clock: Clock
    protected: frozenset[int]
    """Indices of other streams that are encrypted."""
    has_captions: bool
    """Whether there are closed captions in the frames of the video."""
    presence: Presence
    """Where streams have packets, on the continuous clock."""


def scan(container: InputContainer, stream: VideoStream, path: Path, pulse: Pulse) -> Scan:
    """Read all packets of a file, and decode the first ones of a video.

    Only where packets may hold single fields, all of them are decoded.

    Args:
        container: the file, at its beginning.
        stream: the video.
        path: the file again.
        pulse: told that there is progress.

    Raises:
        SourceError: the video is encrypted, or none of its frames can be decoded.
    """
    found, presence = _Pass(container, stream, path), Presence()
    packets = read_packets(container, *container.streams, on_error=lambda _: _warn(path))
    for packet in presence.watch(packets):
        pulse.beat()
        found.add(packet)
    found.sample.finish()
    if found.is_encrypted:
        raise SourceError(f"{path} is protected: its video is encrypted.")
    first_frame, coded = found.sample.first_frame, found.coded
    if first_frame is None or all(packet.pts is None for packet in coded):
        raise SourceError(
            f"No frame of {path} can be decoded: it is damaged, or its picture has more than {MAX_PIXELS:,} "
            "pixels."
        )
    returned = found.sample.returned
    if _may_have_fields(stream, first_frame, coded, returned):
        returned = _decode_all(path, stream.index, pulse)
        coded = without_fields(coded, returned)
    coded = without_repeats(coded, returned)
    first = min(pts for packet in coded[:_FIRST] if (pts := packet.pts) is not None)
    clock = found.clock.clock(stream.index, first * Fraction(stream.time_base or 1))
    if clock != STEADY:
        presence = _presence(path, clock)
    coded = _moved(coded, found.numbers, clock, stream)
    times = frame_times(coded, returned, has_order=knows_order(container))
    return Scan(first_frame, times, clock, frozenset(found.protected), found.has_captions, presence)


def _warn(path: Path) -> None:
    _logger.warning("%s can't be read to the end: it is damaged or cut off.", path)


def _presence(path: Path, clock: Clock) -> Presence:
    presence = Presence()
    with open_source(path) as container:
        for _ in presence.watch(read_packets(container, *container.streams, clock=clock)):
            pass
    return presence


class _Pass:
    """What is known of a file after some of its packets."""

    def __init__(self, container: InputContainer, stream: VideoStream, path: Path) -> None:
        self._path = path
        self._container, self._stream = container, stream
        self._holds_frame = _frame_test(stream)
        self._is_mpeg4 = stream.codec_context.codec.canonical_name == "mpeg4"
        self.clock, self.sample = ClockScan(container.format.name), Sample(stream)
        self.coded: list[Coded] = []
        self.numbers = array("q")
        """For each packet of a frame, the number of packets of its stream before it."""
        self.protected: set[int] = set()
        self.is_encrypted = False
        self.has_captions = False
        self._caption_marks = caption_marks(stream.codec_context.codec.canonical_name)

    def add(self, packet: AnyPacket) -> None:
        """Add the next packet."""
        number = self.clock.add(packet)
        if self.clock.num_jumps > MAX_JUMPS:
            raise SourceError(
                f"The timestamps of {self._path} jump more than {MAX_JUMPS:,} times: it is damaged. Copying "
                "its streams to a new file may mend it."
            )
        if packet.stream_index != self._stream.index:
            if packet.has_sidedata("encryption_info"):
                self.protected.add(packet.stream_index)
        elif packet.size:
            self.is_encrypted |= packet.has_sidedata("encryption_info")
            self.numbers.append(number)
            self._add_frame(packet)

    def _add_frame(self, packet: AnyPacket) -> None:
        self.has_captions = self.has_captions or self._has_captions(packet)
        pts, duration = packet_pts(self._container, packet, len(self.coded)), packet.duration or 0
        is_discarded, is_tiny = packet.is_discard, self._is_mpeg4 and packet.size <= _MAX_EMPTY_VOP
        if not self.is_encrypted:
            self.sample.add(packet)
        if len(self.coded) == MAX_FRAMES:
            raise SourceError(f"{self._path} holds more than {MAX_FRAMES:,} frames: divide it into pieces.")
        is_shown = self._holds_frame(packet) and not is_discarded
        self.coded.append(Coded(pts if is_shown else None, duration, is_tiny))

    def _has_captions(self, packet: AnyPacket) -> bool:
        data = bytes(packet) if self._caption_marks else b""
        return any(mark in data for mark in self._caption_marks)


def _frame_test(stream: VideoStream) -> Callable[[AnyPacket], bool]:
    """Return a test of whether a packet holds a frame that is shown, not one that is only referred to."""
    match stream.codec_context.codec.canonical_name:
        case "vp8":
            return lambda packet: bool(memoryview(packet)[0] & _VP8_SHOWN)
        case "vp9":
            # The filter joins frames that are only referred to with the next one that is shown.
            merge = BitStreamFilterContext("vp9_superframe", stream)
            return lambda packet: bool(merge.filter(packet))
    return lambda packet: True


def _may_have_fields(stream: VideoStream, frame: VideoFrame, coded: list[Coded], returned: Returned) -> bool:
    """Return whether two packets may hold the two fields of one frame; no header tells.

    FFmpeg's parsers join them for MPEG-2, VC-1 and others, but not for H.264.
    """
    is_h264 = stream.codec_context.codec.canonical_name == "h264"
    return is_h264 and (frame.interlaced_frame or not are_frames(coded, returned))


def _decode_all(path: Path, index: int, pulse: Pulse) -> Returned:
    with open_source(path) as container:
        stream = container.streams[index]
        assert isinstance(stream, VideoStream)
        return decode_all(stream, pulse.each(read_frame_packets(container, stream)))


def _moved(coded: list[Coded], numbers: Sequence[int], clock: Clock, stream: VideoStream) -> list[Coded]:
    """Return packets with their times on the continuous clock."""
    jumps = [jump for jump in reversed(clock.jumps) if jump.stream == stream.index]
    if not jumps:
        return coded
    time_base, shift, moved = Fraction(stream.time_base or 1), 0, []
    for number, packet in zip(numbers, coded, strict=True):
        while jumps and jumps[-1].packet <= number:
            shift = round(jumps.pop().shift / time_base)
        moved.append(packet if packet.pts is None else replace(packet, pts=packet.pts + shift))
    return moved
