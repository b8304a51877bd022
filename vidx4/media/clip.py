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
from vidx4.media.timeline import Cut

_SEEK_MARGIN = 30
"""Seconds before a cut from which on it is read: subtitles last."""
_PAGES = frozenset({"dvb_subtitle", "hdmv_pgs_subtitle"})
"""Kinds of which each picture builds on the one before, and is shown until the next."""
_PGS_COMPOSITION, _PGS_STATE, _PGS_NUM_OBJECTS = 0x16, 10, 13
"""The first segment of a picture, and where in it fields of interest lie (US 2009/0185789)."""
_DVB_COMPOSITION, _DVB_STATE = b"\x0f\x10", 7
"""The same for DVB (ETSI EN 300 743, 7.2.2)."""
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

    What is shown when the cut begins is shown from there on, for as long as is left of it. Pictures that build
    on earlier ones (PGS, DVB) come with these.

    Args:
        packets: those of one stream, in order, from well before the cut on.
        stream: where they are from.
        cut: what is kept of the source.
    """
    codec = stream.codec_context.codec.canonical_name
    early: list[AnyPacket] = []
    for packet in packets:
        if cut.is_whole or begin_of(packet) >= cut.start:
            yield from (_clip(each, codec, cut) for each in _still_shown(early, codec, cut.start))
            early = []
            if cut.is_whole or begin_of(packet) < cut.stop:
                yield _clip(packet, codec, cut)
        elif codec in _PAGES:
            early = [packet] if _starts_afresh(bytes(packet), codec) else [*early, packet]
        else:
            early = [*_still_shown(early, codec, begin_of(packet)), packet]
    yield from (_clip(each, codec, cut) for each in _still_shown(early, codec, cut.start, is_next=False))


def _still_shown(
    early: list[AnyPacket], codec: str, when: Fraction, *, is_next: bool = True
) -> list[AnyPacket]:
    """Return what is shown at a time, of packets before; `is_next`: another picture begins then."""
    if codec not in _PAGES:
        return [packet for packet in early if _outlasts(packet, when)]
    is_over = not early or not _outlasts(early[-1], when) or _is_empty(bytes(early[-1]), codec)
    return [] if is_over else early


def _outlasts(packet: AnyPacket, when: Fraction) -> bool:
    """Return whether a packet is shown for longer; one without a duration is shown until the next."""
    return not packet.duration or begin_of(packet) + packet.duration * packet.time_base > when
