"""Subtitles of a part of a video."""

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

_SEEK_MARGIN = 30
"""Seconds before a cut from which on it is read: subtitles last."""
_PAGES = frozenset({"dvb_subtitle", "hdmv_pgs_subtitle"})
"""Kinds of which each picture builds on the one before, and is shown until the next."""
_PGS_COMPOSITION, _PGS_STATE, _PGS_NUM_OBJECTS = b"\x16", 10, 13
"""The segment that begins a picture; where its kind and the number of its parts lie (US 2009/0185789)."""
_DVB_COMPOSITION, _DVB_STATE, _DVB_NO_REGION = b"\x0f\x10", 7, 2
"""The same for DVB, and the length of a page without a part (ETSI EN 300 743, 7.2.2)."""
_SPU_HEADER = 4
_SPU_UNIT = Fraction(1024, 90_000)
"""Seconds per unit of the dates in a DVD's subpicture."""


def read_around(original: InputContainer, stream: Stream, cut: Cut) -> Iterator[AnyPacket]:
    """Yield the packets of a stream from well before a cut to its end, in the order of decoding.

    Args:
        original: the source, which is read by nobody else meanwhile.
        stream: one of its streams.
        cut: what is kept of the source.
    """
    if not cut.is_whole and cut.start > _SEEK_MARGIN:
        with suppress(FFmpegError):  # then the file is read from its beginning
            original.seek(int((cut.start - _SEEK_MARGIN) * av.time_base))
    for packet in read_packets(original, stream):
        if not cut.is_whole and begin_of(packet) >= cut.stop:
            return
        yield packet


def begin_of(packet: AnyPacket) -> Fraction:
    """Return the second at which a packet is shown or heard."""
    return Fraction((packet.dts if packet.pts is None else packet.pts) or 0) * packet.time_base


def clip_subtitles(packets: Iterable[AnyPacket], stream: Stream, cut: Cut) -> Iterator[AnyPacket]:
    """Yield the subtitles of a cut on the output's clock.

    What is shown when the cut begins is shown from there on, for as long as is left of it. Pictures that
    build on earlier ones (PGS, DVB) come with these.

    Args:
        packets: those of one stream, in order, from well before the cut on.
        stream: where they are from.
        cut: what is kept of the source.
    """
    codec = stream.codec_context.codec.canonical_name
    early: list[AnyPacket] = []
    for packet in packets:
        if cut.is_whole or begin_of(packet) >= cut.start:
            yield from (_clip(each, codec, cut) for each in _still_shown(early, codec, cut))
            early = []
            if cut.is_whole or begin_of(packet) < cut.stop:
                yield _clip(packet, codec, cut)
        else:
            early = [*_needed(early, codec, packet), packet]
    yield from (_clip(each, codec, cut) for each in _still_shown(early, codec, cut))


def _needed(early: list[AnyPacket], codec: str, new: AnyPacket) -> list[AnyPacket]:
    """Return what of earlier packets still matters when a new one begins."""
    if codec in _PAGES:
        return [] if _starts_afresh(bytes(new), codec) else early
    return [packet for packet in early if packet.duration and _end(packet) > begin_of(new)]


def _still_shown(early: list[AnyPacket], codec: str, cut: Cut) -> list[AnyPacket]:
    """Return what of earlier packets is shown when a cut begins; one without a duration lasts to the next."""
    if codec not in _PAGES:
        return [packet for packet in early if not packet.duration or _end(packet) > cut.start]
    if not early or _is_empty(bytes(early[-1]), codec):
        return []
    return early if not early[-1].duration or _end(early[-1]) > cut.start else []


def _end(packet: AnyPacket) -> Fraction:
    return begin_of(packet) + (packet.duration or 0) * packet.time_base


def _starts_afresh(payload: bytes, codec: str) -> bool:
    """Return whether a picture needs none before it."""
    if codec == "dvb_subtitle":
        return payload[:2] == _DVB_COMPOSITION and _byte(payload, _DVB_STATE) & 0x0C != 0
    return payload[:1] == _PGS_COMPOSITION and _byte(payload, _PGS_STATE) & 0xC0 != 0


def _is_empty(payload: bytes, codec: str) -> bool:
    """Return whether a picture only takes away the one before."""
    if codec == "dvb_subtitle":
        return payload[:2] == _DVB_COMPOSITION and int.from_bytes(payload[4:6], "big") <= _DVB_NO_REGION
    return payload[:1] == _PGS_COMPOSITION and _byte(payload, _PGS_NUM_OBJECTS) == 0


def _byte(payload: bytes, place: int) -> int:
    return payload[place] if place < len(payload) else 0


def _clip(packet: AnyPacket, codec: str, cut: Cut) -> AnyPacket:
    """Return a packet on the output's clock, and no longer than the cut."""
    ticks, begin = cut.ticks(packet.time_base), begin_of(packet)
    start, stop = cut.clip(begin, _end(packet))
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
    """Return a DVD's subpicture that is shown later, with the end it had, or when no more time is left.

    It holds a chain of commands, each with the date, counted from its own start, at which it is carried out:
    one ends it.
    """
    changed = bytearray(payload)
    place, following = _SPU_HEADER - 1, int.from_bytes(payload[2:4], "big")
    while place < following <= len(payload) - 4:
        place = following
        date, following = struct.unpack_from(">2H", payload, place)
        shifted = min(max(date - round(late / _SPU_UNIT), 0), int(left / _SPU_UNIT))
        struct.pack_into(">H", changed, place, shifted)
    return bytes(changed)
