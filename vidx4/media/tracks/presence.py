"""Find out where streams have packets."""

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction

from av.stream import Disposition, Stream

from vidx4.media.container import AnyPacket

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
        if packet.stream.type == "subtitle" and not packet.duration:
            stop = _FOREVER  # it is shown until the next one
        if stretches and stretches[-1][0] - gap <= start <= stretches[-1][1] + gap:
            stretches[-1][1] = max(stop, stretches[-1][1])
        else:
            stretches.append([start, stop])

    def of(self, stream: Stream) -> tuple[tuple[Fraction, Fraction], ...] | None:
        """Return the stretches of a stream in seconds, `[start, stop)`; None if it has no times."""
        is_file = stream.type == "attachment" or stream.disposition & Disposition.attached_pic
        if is_file or stream.index in self._untimed:
            return None
        unit = Fraction(stream.time_base or 1)
        return tuple((start * unit, stop * unit) for start, stop in self._stretches.get(stream.index, []))
