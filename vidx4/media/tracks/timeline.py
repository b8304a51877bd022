"""Give the packets of an output their times of display (pts) and of decoding (dts)."""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, gcd, lcm

from av.audio.stream import AudioStream
from av.stream import Stream

from vidx4.errors import SourceError
from vidx4.media.container import AnyPacket, complete_times
from vidx4.media.tracks.adts import frame_length
from vidx4.video import STEADY, Clock, Source, TimeRange


@dataclass(frozen=True)
class Cut:
    """The part of a source that is kept, in seconds of its clock."""

    start: Fraction
    """Second at which the first kept frame is shown; it may have begun earlier."""
    stop: Fraction
    """Second until which the last kept frame is shown."""
    span: TimeRange
    """The part that the user asked for; `start` and `stop` are at ticks of the video."""
    origin: Fraction
    """Second of the source's clock that becomes 0 in the output; a whole video keeps its clock."""
    clock: Clock = STEADY
    """What makes the timestamps of the source continuous."""
    max_packets: int | None = None
    """Most packets of each stream that are kept, for a rehearsal; None for all."""

    @classmethod
    def of(cls, source: Source, span: TimeRange) -> "Cut":
        """Return the cut that holds the frames of a span."""
        start, stop = (pts * source.time_base for pts in span.bounds(source))
        return cls(start, stop, span, Fraction(0) if span.is_whole else start, source.clock)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is cut off."""
        return self.span.is_whole

    def holds(self, start: Fraction, stop: Fraction) -> bool:
        """Return whether the time from `start` to `stop`, in seconds of the source, overlaps the cut."""
        return self.is_whole or (start < self.stop and stop > self.start)

    def clip(self, start: Fraction, stop: Fraction) -> tuple[Fraction, Fraction]:
        """Return the part of a stretch of time that is inside the cut."""
        if self.is_whole:
            return start, stop
        return max(start, self.start), min(stop, self.stop)

    def first_packets(self, packets: Iterable[AnyPacket], streams: Iterable[Stream]) -> Iterator[AnyPacket]:
        """Yield whole packets, with ascending dts, until there are enough of each stream from the cut on."""
        packets = _ascending(packet for packet in packets if not _is_broken(packet))
        if self.max_packets is None:
            yield from packets
            return
        left = {stream.index: self.max_packets for stream in streams}
        for packet in packets:
            if left.get(packet.stream_index):
                # Before it is given away: whoever takes it may move it to another stream.
                left[packet.stream_index] -= self._counts(packet)
                yield packet
            if not any(left.values()):
                return

    def _counts(self, packet: AnyPacket) -> bool:
        stamp = packet.dts if packet.pts is None else packet.pts
        return self.is_whole or (stamp or 0) * packet.time_base >= self.start

    def ticks(self, time_base: Fraction) -> int:
        """Return by how many units of a time base the output's times are earlier than the source's."""
        return round(self.origin / time_base)


def _is_broken(packet: AnyPacket) -> bool:
    """Return whether a packet is no frame of AAC though it should be: after damage, FFmpeg refuses such."""
    stream = packet.stream
    if not isinstance(stream, AudioStream) or stream.codec_context is None:
        return False
    # Where headers are in the packets, as in MPEG-TS, there is none for the stream.
    has_headers = stream.codec_context.codec.canonical_name == "aac" and not stream.codec_context.extradata
    return has_headers and frame_length(bytes(packet)) != packet.size


def _ascending(packets: Iterable[AnyPacket]) -> Iterator[AnyPacket]:
    """Yield packets whose dts ascend within each stream, as muxers demand, though the source's may not.

    One that comes too early is moved to just after the packet before it. Subtitles may begin together.
    """
    least: dict[int, int] = {}
    for packet in packets:
        if packet.dts is not None:
            dts = max(packet.dts, least.get(packet.stream_index, packet.dts))
            least[packet.stream_index] = dts + _least_step(packet)
            packet.pts = packet.pts if packet.pts is None else max(packet.pts, dts)
            packet.dts = dts
        yield packet


def _least_step(packet: AnyPacket) -> int:
    """Return by how many units the next packet has to be later: MP4 rounds the times of sound to samples."""
    stream = packet.stream
    if isinstance(stream, AudioStream) and stream.codec_context is not None and stream.rate:
        return ceil(1 / (stream.rate * packet.time_base))
    return int(stream.type != "subtitle")


def time_copies(packets: Iterable[AnyPacket], cut: Cut) -> Iterator[AnyPacket]:
    """Yield the packets that overlap a cut, moved to the output's clock."""
    for packet in _with_durations(complete_times(packets)):
        begin = (packet.pts or 0) * packet.time_base
        if cut.holds(begin, begin + (packet.duration or 1) * packet.time_base):
            yield _move(packet, round(-cut.origin / packet.time_base))


def _with_durations(packets: Iterable[AnyPacket]) -> Iterator[AnyPacket]:
    """Yield packets with a duration for sound that states none, such as that of FLV: the time since the last.

    MP4 would give none to the very last packet, and players would leave it out.
    """
    last: dict[int, int] = {}
    for packet in packets:
        index, dts = packet.stream_index, packet.dts or 0
        if packet.stream.type == "audio" and not packet.duration and index in last:
            packet.duration = max(0, dts - last[index])
        last[index] = dts
        yield packet


def _move(packet: AnyPacket, ticks: int) -> AnyPacket:
    """Return a packet moved later by units of its time base."""
    if packet.pts is not None and packet.dts is not None:
        packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
    return packet


def time_frames(packets: Iterable[AnyPacket], source: Source, cut: Cut, delay: int) -> Iterator[AnyPacket]:
    """Yield the packets of parts with the source's pts, moved to the output's clock, and matching dts.

    A packet's dts is the time at which the frame `delay` places before it, in order of display, is shown. So
    dts ascend across the border between two parts, at any frame rate, and no dts is later than its pts. A
    frame that is on display when the cut begins is shown from there on.

    Args:
        packets: packets of the parts in decoding order, in any time base that holds the source's times.
        source: the source, for its time base and the time at which each frame ends.
        cut: the part of the source that the packets cover.
        delay: most places by which a frame is decoded earlier than it is shown.

    Raises:
        SourceError: a packet holds none of the source's frames.
    """
    # A time base that holds the times of the source relative to the origin exactly.
    unit = _common_unit(source.time_base, cut.origin)
    scale, origin = int(source.time_base / unit), int(cut.origin / unit)
    shown = shown_times(source, cut)
    # A heap of the pts that no packet has taken as its dts yet. `delay` made-up times before the first frame
    # keep it filled, so the smallest is `delay` frames behind the packets that were seen.
    lead = _lead(shown, delay)
    pending: list[int] = []
    for packet in packets:
        pts, stop = _bounds(shown, round((packet.pts or 0) * packet.time_base / source.time_base), source)
        pending = pending or [pts - each for each in lead]
        heapq.heappush(pending, pts)
        packet.time_base = unit
        packet.pts, packet.dts = scale * pts - origin, scale * heapq.heappop(pending) - origin
        packet.duration = scale * (stop - pts)
        yield packet


def _bounds(shown: Mapping[int, tuple[int, int]], pts: int, source: Source) -> tuple[int, int]:
    if pts not in shown:
        raise SourceError(f"A part holds a frame that is not in {source.path}: delete the folder of parts.")
    return shown[pts]


def _common_unit(time_base: Fraction, origin: Fraction) -> Fraction:
    """Return the largest unit of time of which both are whole multiples, their greatest common divisor."""
    denominator = lcm(time_base.denominator, origin.denominator)
    return Fraction(gcd(int(time_base * denominator), int(origin * denominator)), denominator)


def _lead(shown: Mapping[int, tuple[int, int]], delay: int) -> list[int]:
    """Return how long before the first frame the decoding of the first frames begins, longest first.

    All in all, frames are decoded for as long as they are shown: the last dts is `delay` frames before the
    last pts, so the first one is as long before the first pts. In MP4, the length of a video is that of its
    dts.
    """
    times = [start for start, _ in shown.values()]
    number = min(delay, len(times) - 1)
    if not number:
        start, stop = next(iter(shown.values()))
        return [count * (stop - start) for count in range(delay, 0, -1)]
    return [count * (times[-1] - times[-1 - number]) // number for count in range(delay, 0, -1)]


def shown_times(source: Source, cut: Cut) -> dict[int, tuple[int, int]]:
    """Return from when until when each frame of a cut is shown, by its pts, in the source's time base."""
    first, last = int(cut.start / source.time_base), int(cut.stop / source.time_base)
    bounds = zip(source.pts, (*source.pts[1:], source.stop_pts), strict=True)
    return {
        start: (max(start, first), min(stop, last)) for start, stop in bounds if start < last and stop > first
    }
