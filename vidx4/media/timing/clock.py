"""One continuous clock for files whose timestamps restart or jump, as on DVDs and in joined recordings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil

from vidx4.media.container import AnyPacket
from vidx4.video import STEADY, Clock, Jump

_RESTARTING = frozenset({"flv", "live_flv", "mpeg", "mpegts", "wtv"})
"""Demuxers of formats that are recorded from broadcasts or discs, whose timestamps jump ahead at a splice."""
_MAX_GAP, _MAX_PAUSE = Fraction(10), Fraction(3600)
"""Seconds by which timestamps may jump ahead in such a format, and in others, and still be a pause."""
_MAX_RETURN = Fraction(1, 4)
"""Seconds by which the dts of sound may be earlier than that before it: some muxers are not exact."""
_ROUNDING = Fraction(1, 500)
"""Seconds by which the distances of packets may differ through rounding to milliseconds."""
_RECENT = 4
"""Segments before the last that stray timestamps may have interrupted."""
_DERIVED = "matroska,webm"
"""The demuxer of a format without dts, for which FFmpeg derives one."""
_DENSE = frozenset({"audio", "video"})
"""Kinds of streams without long pauses."""


@dataclass
class _Track:
    """Where the scan is in one stream."""

    num_packets: int = 0
    segment: int = 0
    last: Fraction | None = None
    """Timestamp of the last packet in seconds, as stored."""
    before: tuple[Fraction, int] | None = None
    """Timestamp and segment of the packet before the last."""
    step: Fraction = Fraction(0)
    """Seconds between the last two packets, which tells how long one lasts that doesn't say."""


@dataclass
class _Extent:
    """The stretch of time that a stream covers within a segment, in seconds as stored."""

    first_packet: int
    start: Fraction
    stop: Fraction
    is_dense: bool


@dataclass
class _Segment:
    """A stretch of a file with continuous timestamps."""

    now: Fraction
    """Last timestamp of a dense stream, in seconds as stored."""
    resumed: int | None = None
    """The earlier segment whose timestamps continue here, after stray ones."""
    extents: dict[int, _Extent] = field(default_factory=dict)


class ClockScan:
    """Finds the places where timestamps restart or jump, from all packets of a file in its order.

    A new segment begins where a stream's own dts goes back, or ahead further than a pause lasts. Other
    streams follow: one may lag behind by what a muxer interleaves. The pts of reordered frames go back
    anyway, so packets without a dts begin none: the first ones of Matroska, where FFmpeg derives the rest.

    Args:
        container: FFmpeg's name of the container.
    """

    def __init__(self, container: str) -> None:
        self._container = container
        self._max_gap = _MAX_GAP if container in _RESTARTING else _MAX_PAUSE
        self._tracks: dict[int, _Track] = {}
        self._segments: list[_Segment] = []

    def add(self, packet: AnyPacket) -> int:
        """Add the next packet, and return the number of packets of its stream before it."""
        track = self._tracks.setdefault(packet.stream_index, _Track())
        stamp = packet.pts if packet.dts is None else packet.dts
        if stamp is not None:
            self._segments = self._segments or [_Segment(stamp * packet.time_base)]
            if packet.dts is not None:
                self._place(track, packet, packet.dts * packet.time_base)
            self._extend(track, packet)
        track.num_packets += 1
        return track.num_packets - 1

    @property
    def num_jumps(self) -> int:
        """Number of places at which timestamps jumped so far."""
        return max(0, len(self._segments) - 1)

    def _place(self, track: _Track, packet: AnyPacket, time: Fraction) -> None:
        is_dense = packet.stream.type in _DENSE
        newest, before = len(self._segments) - 1, (track.last, track.segment)
        if track.segment < newest and self._belongs_to_newest(track, time):
            track.segment = newest
        elif is_dense and self._follows_stray(track, time):
            self._set_apart(track, packet)
            self._begin(track, time, track.before and track.before[1])
        elif is_dense and self._jumps(track, packet, time):
            self._begin(track, time, self._resumed(time))
        if track.last is not None and 0 < time - track.last <= _MAX_RETURN and track.segment == before[1]:
            track.step = time - track.last
        track.before = None if before[0] is None else (before[0], before[1])
        track.last = time
        if is_dense:
            self._segments[track.segment].now = time

    def _begin(self, track: _Track, time: Fraction, resumed: int | None) -> None:
        self._segments.append(_Segment(time, resumed))
        track.segment = len(self._segments) - 1

    def _follows_stray(self, track: _Track, time: Fraction) -> bool:
        """Return whether a timestamp continues the one before the last, which is far from both."""
        if track.before is None or track.last is None:
            return False
        before, _ = track.before
        is_apart = min(abs(track.last - before), abs(time - track.last)) > _MAX_RETURN + track.step
        return is_apart and 0 < time - before <= 2 * track.step + _ROUNDING

    def _set_apart(self, track: _Track, packet: AnyPacket) -> None:
        """Move the last packet of a stream, a stray, to a segment of its own."""
        index, last = packet.stream_index, track.num_packets - 1
        extent = self._segments[track.segment].extents[index]
        if extent.first_packet == last:
            return  # it jumped, and has one
        stray = _Extent(last, extent.stop - track.step, extent.stop, extent.is_dense)
        if (track.last or 0) < extent.start + track.step:
            stray = _Extent(last, extent.start, extent.start + track.step, extent.is_dense)
        assert track.before is not None
        extent.stop = track.before[0] + track.step
        self._segments.append(_Segment(track.before[0], extents={index: stray}))

    def _belongs_to_newest(self, track: _Track, time: Fraction) -> bool:
        here, newest = self._segments[track.segment].now, self._segments[-1].now
        distance = abs(time - newest)
        return distance <= _MAX_GAP and distance < abs(time - (here if track.last is None else track.last))

    def _jumps(self, track: _Track, packet: AnyPacket, time: Fraction) -> bool:
        """Return whether a timestamp continues neither its own stream nor the others of its segment."""
        if track.last is None:
            return False
        ahead = self._max_gap + (packet.duration or 0) * packet.time_base
        back = self._max_return(track, packet)
        if -back <= time - track.last <= ahead:
            return False
        now = self._segments[-1].now
        return time < track.last - back or not -self._max_gap <= time - now <= ahead

    def _max_return(self, track: _Track, packet: AnyPacket) -> Fraction:
        """Return by how many seconds a dts may be earlier than the last; that of frames ascends."""
        is_exact = packet.stream.type == "video" and self._container != _DERIVED
        return track.step / 2 if is_exact else _MAX_RETURN

    def _resumed(self, time: Fraction) -> int | None:
        """Return a recent segment that a timestamp continues: those after it were strays."""
        is_far = abs(time - self._segments[-1].now) > _MAX_GAP
        least = -_MAX_RETURN if is_far else 0  # other streams may have gone ahead
        recent = range(len(self._segments) - 2, max(-1, len(self._segments) - 2 - _RECENT), -1)
        return next((each for each in recent if least <= time - self._segments[each].now < 1), None)

    def _extend(self, track: _Track, packet: AnyPacket) -> None:
        extents = self._segments[track.segment].extents
        begin = ((packet.dts or 0) if packet.pts is None else packet.pts) * packet.time_base
        end = begin + ((packet.duration or 0) * packet.time_base or track.step or packet.time_base)
        is_dense = packet.stream.type in _DENSE
        new = _Extent(track.num_packets, begin, end, is_dense)
        known = extents.setdefault(packet.stream_index, new)
        known.start, known.stop = min(known.start, begin), max(known.stop, end)

    def clock(self, video: int, first: Fraction) -> Clock:
        """Return the continuous clock, which is moved by whole seconds if frames were shown before 0.

        So it is where the counter of a transport stream wraps: FFmpeg gives negative times to all before.

        Args:
            video: the stream whose time names the places.
            first: the second at which its first frame is shown, as stored.
        """
        moved = max(0, ceil(-first))  # whole seconds are exact in every time base
        if len(self._segments) < 2 and not moved:
            return STEADY
        shifts = [shift + moved for shift in self._shifts()]
        jumps = tuple(
            Jump(index, extent.first_packet, shift)
            for segment, shift in zip(self._segments, shifts, strict=True)
            for index, extent in segment.extents.items()
            if shift or segment is not self._segments[0]
        )
        places = (
            segment.extents[video].start + shift
            for segment, shift in zip(self._segments[1:], shifts[1:], strict=True)
            if video in segment.extents
        )
        return Clock(jumps, tuple(places), moved)

    def _shifts(self) -> list[Fraction]:
        """Return the seconds that each segment is moved by, so that no dense stream overlaps itself."""
        shifts = [Fraction(0)]
        ends: dict[int, Fraction] = {}
        for number, segment in enumerate(self._segments):
            if number and segment.resumed is not None:
                shifts.append(shifts[segment.resumed])
            elif number:
                shifts.append(_least_shift(segment, ends, shifts[-1]))
            for index, extent in segment.extents.items():
                if extent.is_dense:
                    stop = extent.stop + shifts[number]
                    ends[index] = max(ends.get(index, stop), stop)
        return shifts


def _least_shift(segment: _Segment, ends: Mapping[int, Fraction], otherwise: Fraction) -> Fraction:
    needed = (ends[index] - extent.start for index, extent in segment.extents.items() if index in ends)
    return max(needed, default=otherwise)
