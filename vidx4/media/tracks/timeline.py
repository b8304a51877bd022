"""When packets are shown and decoded in an output."""

import heapq
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

from av.stream import Disposition

from vidx4.media.container import AnyPacket
from vidx4.video import Source, TimeRange

_MAX_DELAY = 16
"""By how many places H.264 and HEVC decode a frame before it is shown, at most."""


@dataclass(frozen=True)
class Cut:
    """What is kept of a source, in seconds of its clock."""

    start: Fraction
    stop: Fraction
    span: TimeRange
    """What was asked for."""
    origin: Fraction
    """The second of the source's clock that becomes 0: a whole video stays on its clock."""

    @classmethod
    def of(cls, source: Source, span: TimeRange) -> "Cut":
        """Return the cut at the frames of a span."""
        start, stop = span.pts_bounds(source)
        first = source.pts[min(bisect_left(source.pts, start), source.num_frames - 1)]
        begin = first * source.time_base
        return cls(begin, stop * source.time_base, span, Fraction(0) if span.is_whole else begin)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is cut off."""
        return self.span.is_whole

    def holds(self, start: Fraction, stop: Fraction) -> bool:
        """Return whether something from `start` to `stop` overlaps the cut."""
        return self.is_whole or (start < self.stop and stop > self.start)

    def clip(self, start: Fraction, stop: Fraction) -> tuple[Fraction, Fraction]:
        """Return what of a stretch of time is inside the cut."""
        if self.is_whole:
            return start, stop
        return max(start, self.start), min(stop, self.stop)

    def ticks(self, time_base: Fraction) -> int:
        """Return by how many units of a time base times are moved earlier."""
        return round(self.origin / time_base)


def time_copies(packets: Iterable[AnyPacket], cut: Cut) -> Iterator[AnyPacket]:
    """Yield the packets that overlap a cut, moved to the output's clock."""
    for packet in _complete_times(packets):
        begin = (packet.pts or 0) * packet.time_base
        if cut.holds(begin, begin + (packet.duration or 1) * packet.time_base):
            yield _move(packet, round(-cut.origin / packet.time_base))


def _complete_times(packets: Iterable[AnyPacket]) -> Iterator[AnyPacket]:
    """Yield the packets with a pts and a dts.

    Matroska states no dts. FFmpeg finds them from the pts, but not those of the first packets of a stream
    whose frames refer to later ones: these wait for the first that is known.
    """
    waiting: dict[int, list[AnyPacket]] = {}
    for packet in packets:
        run = waiting.setdefault(packet.stream_index, [])
        run.append(packet)
        if packet.dts is not None or not _may_be_reordered(packet) or len(run) > _MAX_DELAY:
            yield from _complete_run(waiting.pop(packet.stream_index))
    for run in waiting.values():
        yield from _complete_run(run)


def _may_be_reordered(packet: AnyPacket) -> bool:
    stream = packet.stream
    return stream.type == "video" and not stream.disposition & Disposition.attached_pic


def _complete_run(run: list[AnyPacket]) -> Iterator[AnyPacket]:
    """Yield packets of one stream, of which at most the last knows its dts; others get those just below."""
    last = run[-1].dts
    if last is None:
        last = min(packet.pts or 0 for packet in run)  # a cover has no time at all
    for dts, packet in enumerate(run, start=last - len(run) + 1):
        packet.dts = dts
        packet.pts = dts if packet.pts is None else packet.pts
        yield packet


def _move(packet: AnyPacket, ticks: int) -> AnyPacket:
    if packet.pts is not None and packet.dts is not None:
        packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
    return packet


def time_frames(packets: Iterable[AnyPacket], source: Source, cut: Cut, delay: int) -> Iterator[AnyPacket]:
    """Yield the packets of parts with the source's pts, moved to the output's clock, and fitting dts.

    The n-th packet is decoded when the n-th frame is shown, `delay` frames earlier: this ascends over
    the border of two parts, at any frame rate.

    Args:
        packets: packets of the parts in the order of decoding, in any time base that holds the source's.
        source: tells the time base and when each frame ends.
        cut: what the parts cover.
        delay: by how many places a frame is decoded before it is shown, at most.
    """
    unit = _common_unit(source.time_base, cut.origin)
    scale, origin = int(source.time_base / unit), int(cut.origin / unit)
    durations = dict(zip(source.pts, _durations(source), strict=True))
    pending: list[int] = []
    for packet in packets:
        pts = round((packet.pts or 0) * packet.time_base / source.time_base)
        pending = pending or [pts - count * durations[pts] for count in range(delay, 0, -1)]
        heapq.heappush(pending, pts)
        packet.time_base = unit
        packet.pts, packet.dts = scale * pts - origin, scale * heapq.heappop(pending) - origin
        packet.duration = scale * durations[pts]
        yield packet


def _common_unit(time_base: Fraction, origin: Fraction) -> Fraction:
    """Return the largest stretch of time of which both are whole multiples."""
    denominator = lcm(time_base.denominator, origin.denominator)
    return Fraction(gcd(int(time_base * denominator), int(origin * denominator)), denominator)


def _durations(source: Source) -> Iterator[int]:
    stops = (*source.pts[1:], source.stop_pts)
    return (stop - start for start, stop in zip(source.pts, stops, strict=True))
