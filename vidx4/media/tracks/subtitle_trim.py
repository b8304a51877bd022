"""Trim subtitles to a part of a video."""

import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from fractions import Fraction

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream

from vidx4.media.container import AnyPacket, read_packets
from vidx4.media.tracks.timeline import Cut
from vidx4.video import STEADY

_SEEK_MARGIN = 30
"""Seconds before a cut from which to read: a subtitle shown at its start began earlier."""
_PAGED = frozenset({"dvb_subtitle", "hdmv_pgs_subtitle"})
"""Codecs whose pictures build on the ones before, and are shown until the next."""
_PGS_COMPOSITION, _PGS_STATE, _PGS_NUM_OBJECTS = b"\x16", 10, 13
"""Type of the segment that begins a PGS picture, and the offsets of its composition state and of the number
of its objects (US 2009/0185789)."""
_DVB_COMPOSITION, _DVB_STATE, _DVB_NO_REGION = b"\x0f\x10", 7, 2
"""Type of the segment that begins a DVB page, the offset of its state, and its length without any region
(ETSI EN 300 743, 7.2.2)."""
_FEW = 64
"""Earlier packets from which on those are looked for that still matter."""
_SPU_HEADER = 4
"""Bytes of the header of a DVD's subpicture: its size, and the offset of its first command sequence."""
_SPU_UNIT = Fraction(1024, 90_000)
"""Seconds per unit of the dates in a DVD's subpicture."""


def read_around(original: InputContainer, stream: Stream, cut: Cut) -> Iterator[AnyPacket]:
    """Yield the packets of a stream from well before a cut to the end of the cut, in decoding order.

    Args:
        original: the source, which nothing else may read meanwhile.
        stream: one of its streams.
        cut: the part of the source that is kept.
    """
    if not cut.is_whole and cut.start > _SEEK_MARGIN and cut.clock == STEADY:
        with suppress(FFmpegError):  # if seeking fails, the file is read from its beginning
            original.seek(int((cut.start - _SEEK_MARGIN) * av.time_base))
    packets = read_packets(original, stream, clock=cut.clock)
    for packet in cut.first_packets(packets, [stream]):
        if not cut.is_whole and begin_of(packet) >= cut.stop:
            return
        yield packet


def begin_of(packet: AnyPacket) -> Fraction:
    """Return the second at which a packet is shown or heard."""
    return Fraction((packet.dts if packet.pts is None else packet.pts) or 0) * packet.time_base


def clip_subtitles(packets: Iterable[AnyPacket], stream: Stream, cut: Cut) -> Iterator[AnyPacket]:
    """Yield the subtitles of a cut on the output's clock.

    A subtitle that is on the screen when the cut begins is shown from there on, for the rest of its time.
    Pictures that build on earlier ones (PGS, DVB) come with those.

    Args:
        packets: the stream's packets in order, beginning well before the cut.
        stream: the source's subtitle stream.
        cut: the part of the source that is kept.
    """
    codec = stream.codec_context.codec.canonical_name
    early, limit = list[AnyPacket](), _FEW
    for packet in packets:
        if cut.is_whole or begin_of(packet) >= cut.start:
            yield from (_clip(each, codec, cut) for each in _still_shown(early, codec, cut))
            early = []
            if cut.is_whole or begin_of(packet) < cut.stop:
                yield _clip(packet, codec, cut)
        else:
            if codec in _PAGED and _is_self_contained(bytes(packet), codec):
                early.clear()
            early.append(packet)
            if len(early) > limit:
                early = _needed(early, codec, packet)
                limit = _FEW + 2 * len(early)
    # There may be no packet after the beginning of the cut.
    yield from (_clip(each, codec, cut) for each in _still_shown(early, codec, cut))


def _needed(early: list[AnyPacket], codec: str, new: AnyPacket) -> list[AnyPacket]:
    """Return the earlier packets, up to a new one, that still matter when that begins."""
    if codec in _PAGED:
        return early
    return [packet for packet in early if packet is new or _lasts_until(packet, begin_of(new))]


def _lasts_until(packet: AnyPacket, time: Fraction) -> bool:
    return bool(packet.duration) and _end_of(packet) > time


def _still_shown(early: list[AnyPacket], codec: str, cut: Cut) -> list[AnyPacket]:
    """Return the earlier packets that are shown when a cut begins.

    A packet without a duration lasts until the next.
    """
    if codec not in _PAGED:
        last = early[-1:]
        return [
            packet
            for packet in early
            if (packet in last and not packet.duration) or _lasts_until(packet, cut.start)
        ]
    if not early or _clears_screen(bytes(early[-1]), codec):
        return []
    return early if not early[-1].duration or _end_of(early[-1]) > cut.start else []


def _end_of(packet: AnyPacket) -> Fraction:
    return begin_of(packet) + (packet.duration or 0) * packet.time_base


def _is_self_contained(payload: bytes, codec: str) -> bool:
    """Return whether a picture needs none before it: it begins an epoch, or is an acquisition point."""
    if codec == "dvb_subtitle":
        return payload[:2] == _DVB_COMPOSITION and _byte_at(payload, _DVB_STATE) & 0x0C != 0
    return payload[:1] == _PGS_COMPOSITION and _byte_at(payload, _PGS_STATE) & 0xC0 != 0


def _clears_screen(payload: bytes, codec: str) -> bool:
    """Return whether a picture shows nothing and only removes the one before."""
    if codec == "dvb_subtitle":
        return payload[:2] == _DVB_COMPOSITION and int.from_bytes(payload[4:6], "big") <= _DVB_NO_REGION
    return payload[:1] == _PGS_COMPOSITION and _byte_at(payload, _PGS_NUM_OBJECTS) == 0


def _byte_at(payload: bytes, offset: int) -> int:
    return payload[offset] if offset < len(payload) else 0


def _clip(packet: AnyPacket, codec: str, cut: Cut) -> AnyPacket:
    """Return a packet on the output's clock, and no longer than the cut."""
    ticks, begin = cut.ticks(packet.time_base), begin_of(packet)
    start, stop = cut.clip(begin, _end_of(packet))
    if codec == "dvd_subtitle" and not cut.is_whole:
        packet = _with_payload(packet, _shift_dates(bytes(packet), start - begin, cut.stop - start))
    if packet.duration:
        packet.duration = max(1, round((stop - start) / packet.time_base))
    packet.pts = packet.dts = round(start / packet.time_base) - ticks
    return packet


def _with_payload(packet: AnyPacket, payload: bytes) -> AnyPacket:
    changed = Packet(payload)
    changed.stream, changed.time_base, changed.duration = packet.stream, packet.time_base, packet.duration
    changed.is_keyframe = packet.is_keyframe
    return changed


def _shift_dates(payload: bytes, late: Fraction, left: Fraction) -> bytes:
    """Return a DVD's subpicture that begins later and ends when it did, or at the end of the cut.

    It holds a chain of command sequences, each with the offset of the next and the date of its execution,
    counted from the beginning of the subpicture: one of them ends the display.

    Args:
        payload: the subpicture.
        late: seconds by which it begins later.
        left: seconds from then on until the end of the cut.
    """
    changed = bytearray(payload)
    offset, following = _SPU_HEADER - 1, int.from_bytes(payload[2:4], "big")
    # The last sequence points to itself; an offset that leads back, in a damaged one, ends the loop too.
    while offset < following <= len(payload) - 4:
        offset = following
        date, following = struct.unpack_from(">2H", payload, offset)
        shifted = min(max(date - round(late / _SPU_UNIT), 0), int(left / _SPU_UNIT))
        struct.pack_into(">H", changed, offset, shifted)
    return bytes(changed)
