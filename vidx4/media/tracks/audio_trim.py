"""Sound of a part of a video, packet for packet."""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction

from av.audio.stream import AudioStream
from av.packet import Packet, PacketSideData, packet_sidedata_type_from_literal
from av.stream import Stream

from vidx4.media.container import AnyPacket
from vidx4.media.tracks.subtitle_trim import begin_of
from vidx4.media.tracks.timeline import Cut

_NUM_BEFORE: Mapping[str, int] = {
    **dict.fromkeys(("alac", "ape", "flac", "mlp", "tak", "truehd", "tta", "wavpack"), 0),
    "aac": 2,
    "mp3": 4,
    "opus": 4,
    "vorbis": 2,
}
"""How many packets a decoder needs before the one that it is to decode exactly, if not one: those of AAC
(with SBR) and Vorbis overlap, MP3 stores bits in earlier ones, Opus settles within 80 ms (RFC 7845, 4.6)."""
_PLAIN_PCM = re.compile(r"pcm_(?:[fsu](\d+)(?:le|be)?|[am]u?law)")
_FRAME_SIZES: Mapping[str, int] = {"ac3": 1536, "eac3": 1536, "opus": 960}
"""The usual number of samples in a packet, where FFmpeg doesn't tell."""
_SKIP_LAYOUT_BYTES = 10
"""Samples to skip at the start and at the end, 4 bytes each, and two reasons (`AV_PKT_DATA_SKIP_SAMPLES`)."""
_ADTS_SYNC, _ADTS_MASK = 0xFFF0, 0xFFF6


def trim_sound(
    packets: Iterable[AnyPacket], stream: AudioStream, copy: Stream, cut: Cut
) -> Iterator[AnyPacket]:
    """Yield the sound of a cut on the output's clock, such that decoders give its samples and no others.

    The packets that a decoder needs before have negative times. MP4 turns these into an edit list; in
    Matroska `declare_delay` tells of them; elsewhere they are heard a few hundredths of a second before the
    picture. The last packet says how much of it is heard. PCM is cut where the samples are.

    Args:
        packets: those of one stream, in order, from before the cut on.
        stream: where they are from.
        copy: the stream of the output.
        cut: a part of the source.
    """
    codec, rate = stream.codec_context.codec.canonical_name, stream.codec_context.sample_rate
    if rate and (found := _PLAIN_PCM.fullmatch(codec)):
        width = int(found[1] or 8) // 8 * stream.codec_context.channels
        timed = _find_times(packets, rate, lambda packet: packet.size // width)
        trimmed = _slice(timed, rate, width, cut)
    else:
        frame_size = _frame_size(stream, codec)
        timed = _find_times(packets, rate, lambda packet: frame_size)
        trimmed = _select(timed, rate, _NUM_BEFORE.get(codec, 1), cut)
    for packet in trimmed:
        if codec == "aac" and copy.container.format.name in ("matroska", "webm"):
            packet = _without_adts(packet)
        packet.stream = copy
        yield packet


def _frame_size(stream: AudioStream, codec: str) -> int:
    """Return the samples of a packet; 0 where they are not known, or not the same."""
    header = stream.codec_context.extradata or b""
    if codec == "flac" and header[:2] == header[2:4]:  # the least and the most
        return int.from_bytes(header[:2], "big")
    return stream.codec_context.frame_size or _FRAME_SIZES.get(codec, 0)


def _find_times(
    packets: Iterable[AnyPacket], rate: int, count: Callable[[AnyPacket], int]
) -> Iterator[AnyPacket]:
    """Yield packets with times in samples where those of the container are coarser.

    Matroska rounds to milliseconds. Each packet tells within half of that where the first one began, as long
    as no gap lies between: together they tell it better.

    Args:
        packets: those of one stream.
        rate: samples per second.
        count: tells how many samples a packet holds; 0 for unknown.
    """
    low = high = begin = Fraction(0)
    total = 0
    for packet in packets:
        tick, samples = packet.time_base * rate, count(packet)
        if tick > 1 and samples and abs((packet.duration or 0) * tick - samples) <= tick:
            found = begin_of(packet) * rate - total
            if not total or not low - tick / 2 <= found <= high + tick / 2:
                low, high, begin = found - tick / 2, found + tick / 2, found
            low, high = max(low, found - tick / 2), min(high, found + tick / 2)
            if not low <= begin <= high:
                begin = (low + high) / 2
            packet.pts = packet.dts = round(begin + total)
            packet.duration, packet.time_base = samples, Fraction(1, rate)
            total += samples
        yield packet


def _slice(packets: Iterable[AnyPacket], rate: int, width: int, cut: Cut) -> Iterator[AnyPacket]:
    """Yield PCM of which each sample of all channels has `width` bytes."""
    time_base = Fraction(1, rate)
    start, stop = round(cut.start * rate), round(cut.stop * rate)
    for packet in packets:
        begin = round(begin_of(packet) * rate)
        first, last = max(begin, start), min(begin + packet.size // width, stop)
        if first < last:
            piece = Packet(bytes(packet)[(first - begin) * width : (last - begin) * width])
            piece.time_base, piece.is_keyframe = time_base, True
            piece.pts = piece.dts = first - cut.ticks(time_base)
            piece.duration = last - first
            yield piece


def _select(packets: Iterable[AnyPacket], rate: int, num_before: int, cut: Cut) -> Iterator[AnyPacket]:
    before: deque[AnyPacket] = deque(maxlen=num_before)
    last: AnyPacket | None = None
    for packet in packets:
        if _end(packet) <= cut.start:
            before.append(packet)
        elif begin_of(packet) < cut.stop:
            for each in (*before, packet):
                if last:
                    yield _move(last, cut)
                last = each
            before.clear()
    if last:
        yield _move(_shorten(last, rate, cut.stop), cut)


def _end(packet: AnyPacket) -> Fraction:
    return begin_of(packet) + (packet.duration or 1) * packet.time_base


def _move(packet: AnyPacket, cut: Cut) -> AnyPacket:
    ticks = cut.ticks(packet.time_base)
    pts = round(begin_of(packet) / packet.time_base) - ticks
    packet.dts = pts if packet.dts is None else packet.dts - ticks
    packet.pts = pts
    return packet


def _shorten(packet: AnyPacket, rate: int, stop: Fraction) -> AnyPacket:
    """Return a packet that is heard until `stop` only: Matroska says so in samples, MP4 by the duration."""
    extra = _end(packet) - stop
    if extra <= 0:
        return packet
    skipped = bytes(packet.get_sidedata("skip_samples")).ljust(_SKIP_LAYOUT_BYTES, b"\0")
    at_end = int.from_bytes(skipped[4:8], "little") + round(extra * rate)
    side_data = PacketSideData(  # type: ignore[call-arg]  # the stubs don't show how it is made
        packet_sidedata_type_from_literal("skip_samples"), _SKIP_LAYOUT_BYTES
    )
    side_data.update(skipped[:4] + at_end.to_bytes(4, "little") + skipped[8:])
    packet.set_sidedata(side_data)
    packet.duration = max(1, (packet.duration or 1) - round(extra / packet.time_base))
    return packet


def _without_adts(packet: AnyPacket) -> AnyPacket:
    """Return AAC without the header that it has in MPEG-TS.

    FFmpeg's muxer of Matroska takes it away, but then writes wrong parameters if it knew them before.
    """
    payload = bytes(packet)
    if int.from_bytes(payload[:2], "big") & _ADTS_MASK != _ADTS_SYNC:
        return packet
    bare = Packet(payload[7 if payload[1] & 1 else 9 :])
    bare.pts, bare.dts, bare.duration = packet.pts, packet.dts, packet.duration
    bare.time_base, bare.is_keyframe = packet.time_base, True
    for side_data in packet.iter_sidedata():
        bare.set_sidedata(side_data)
    return bare
