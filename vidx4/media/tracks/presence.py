"""Find out where streams have packets."""

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from heapq import heappop, heappush

from av.stream import Disposition, Stream

from vidx4.media.container import AnyPacket
from vidx4.media.formats.limits import MAX_STRETCHES

_GAPS: Mapping[str, Fraction] = {"audio": Fraction(1, 20), "subtitle": Fraction(0)}
"""Seconds between packets that don't count as a gap, by kinds of streams."""
_GAP = Fraction(1)
"""Those of other kinds, of which no container misses a packet."""
_FOREVER = 2**62


class Presence:
    """The stretches of time in which streams have packets."""

    def __init__(self) -> None:
        self._stretches: dict[int, list[list[int]]] = {}
        self._gaps: dict[int, int] = {}
        self._untimed: set[int] = set()
        self._shown: dict[int, list[int]] = {}
        """For streams of subtitles, a heap of the ends of those that are shown at once."""
        self._most_at_once: dict[int, int] = {}

    def watch(self, packets: Iterable[AnyPacket]) -> Iterator[AnyPacket]:
        """Yield packets, and take note of them; those of a stream come about in order."""
        for packet in packets:
            if packet.size:
                self._add(packet)
            yield packet

    def _add(self, packet: AnyPacket) -> None:
        index, start = packet.stream_index, packet.dts if packet.pts is None else packet.pts
        if start is None:
            self._untimed.add(index)
            return
        if index not in self._gaps:
            self._gaps[index] = int(_GAPS.get(packet.stream.type, _GAP) / packet.time_base)
        stretches, gap = self._stretches.setdefault(index, []), self._gaps[index]
        stop = start + (packet.duration or 1)
        if packet.stream.type == "subtitle":
            self._show(index, start, packet.duration or 0)
            stop = stop if packet.duration else _FOREVER  # it is shown until the next one
        is_next = bool(stretches) and stretches[-1][0] - gap <= start <= stretches[-1][1] + gap
        if is_next or len(stretches) == MAX_STRETCHES:
            stretches[-1][1] = max(stop, stretches[-1][1])
        else:
            stretches.append([start, stop])

    def _show(self, index: int, start: int, duration: int) -> None:
        shown = self._shown.setdefault(index, [])
        while shown and shown[0] <= start:
            heappop(shown)
        heappush(shown, start + duration)
        self._most_at_once[index] = max(len(shown), self._most_at_once.get(index, 0))

    def most_at_once(self, stream: Stream) -> int:
        """Return how many subtitles of a stream are shown at the same time, at most."""
        return self._most_at_once.get(stream.index, 0)

    def of(self, stream: Stream) -> tuple[tuple[Fraction, Fraction], ...] | None:
        """Return the stretches of a stream in seconds, `[start, stop)`; None if it has no times."""
        is_file = stream.type == "attachment" or stream.disposition & Disposition.attached_pic
        if is_file or stream.index in self._untimed:
            return None
        unit = Fraction(stream.time_base or 1)
        return tuple((start * unit, stop * unit) for start, stop in self._stretches.get(stream.index, []))
