"""Trim audio to a part of a video without encoding it again, packet by packet."""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction

from av.audio.stream import AudioStream
from av.packet import Packet, PacketSideData, packet_sidedata_type_from_literal
from av.stream import Stream

from vidx4.media.container import AnyPacket
from vidx4.media.tracks.adts import without_header
from vidx4.media.tracks.subtitle_trim import begin_of
from vidx4.media.tracks.timeline import Cut

_PREROLL: Mapping[str, int] = {
    # Each packet of a lossless codec stands alone.
    **dict.fromkeys(("alac", "ape", "flac", "mlp", "tak", "truehd", "tta", "wavpack"), 0),
    "aac": 2,  # windows overlap, and SBR looks back one packet more
    "mp3": 4,  # a frame may take its bits from the space left in earlier ones, the bit reservoir
    "opus": 4,  # its predictors converge within 80 ms, four packets of 20 ms (RFC 7845, 4.6)
    "vorbis": 2,  # windows overlap
}
"""Number of packets that a decoder needs before one that it is to decode exactly; 1 for other codecs."""
_PLAIN_PCM = re.compile(r"pcm_(?:[fsu](\d+)(?:le|be)?|[am]u?law)")
"""Codecs that interleave samples of whole bytes; the group is the number of bits, 8 if it is missing."""
_FRAME_SIZES: Mapping[str, int] = {"ac3": 1536, "eac3": 1536, "opus": 960}
"""Usual number of samples in a packet, for codecs of which FFmpeg doesn't report it."""
_SKIP_LAYOUT_BYTES = 10
"""Size of `AV_PKT_DATA_SKIP_SAMPLES`: samples to skip at the start and at the end, 4 bytes each, and a byte
for the reason of either."""


def trim_sound(
    packets: Iterable[AnyPacket], stream: AudioStream, copy: Stream, cut: Cut
) -> Iterator[AnyPacket]:
    """Yield the audio of a cut on the output's clock, such that decoders give its samples and no others.

    The packets that a decoder needs beforehand have negative times. MP4 turns these into an edit list, and
    Matroska hides them by the delay that `declare_delay` writes; elsewhere they are heard a few hundredths of
    a second before the picture. The last packet states how much of it is heard. PCM is cut to the sample.

    Args:
        packets: the stream's packets in order, beginning before the cut.
        stream: the source's audio stream.
        copy: the output's stream.
        cut: the part of the source that is kept.
    """
    codec, rate = stream.codec_context.codec.canonical_name, stream.codec_context.sample_rate
    if rate and (found := _PLAIN_PCM.fullmatch(codec)):
        width = int(found[1] or 8) // 8 * stream.codec_context.channels
        timed = _refine_times(packets, rate, lambda packet: packet.size // width)
        trimmed = _slice(timed, rate, width, cut)
    else:
        frame_size = _frame_size(stream, codec)
        timed = _refine_times(packets, rate, lambda packet: frame_size)
        trimmed = _select(timed, rate, _PREROLL.get(codec, 1), cut)
    for packet in trimmed:
        if codec == "aac" and copy.container.format.name in ("matroska", "webm"):
            packet = _without_adts(packet)
        packet.stream = copy
        yield packet


def _frame_size(stream: AudioStream, codec: str) -> int:
    """Return the number of samples in each packet; 0 if it is unknown or varies."""
    header = stream.codec_context.extradata or b""
    if codec == "flac" and header[:2] == header[2:4]:  # the least and the most samples in a packet
        return int.from_bytes(header[:2], "big")
    return stream.codec_context.frame_size or _FRAME_SIZES.get(codec, 0)


def _refine_times(
    packets: Iterable[AnyPacket], rate: int, count: Callable[[AnyPacket], int]
) -> Iterator[AnyPacket]:
    """Yield packets with times in samples if those of the container are coarser.

    Matroska rounds times to milliseconds. Each packet tells within half of that when the first one began, as
    long as there is no gap between them; together they narrow it down.

    Args:
        packets: the packets of one stream.
        rate: samples per second.
        count: returns the number of samples in a packet; 0 if it is unknown.
    """
    # In samples: the bounds of the first packet's time, and the time chosen within them.
    low = high = begin = Fraction(0)
    total = 0
    for packet in packets:
        tick, samples = packet.time_base * rate, count(packet)
        if tick > 1 and samples and abs((packet.duration or 0) * tick - samples) <= tick:
            found = begin_of(packet) * rate - total
            # Outside of the bounds, there was a gap: what follows is timed from here.
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
    """Yield the samples of PCM packets inside a cut; `width` is the bytes of a sample of all channels."""
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


def _select(packets: Iterable[AnyPacket], rate: int, num_preroll: int, cut: Cut) -> Iterator[AnyPacket]:
    """Yield the packets that overlap a cut and those that a decoder needs before them."""
    preroll: deque[AnyPacket] = deque(maxlen=num_preroll)
    # One packet behind, since the last one is shortened.
    last: AnyPacket | None = None
    for packet in packets:
        if _end_of(packet) <= cut.start:
            preroll.append(packet)
        elif begin_of(packet) < cut.stop:
            for each in (*preroll, packet):
                if last:
                    yield _move(last, cut)
                last = each
            preroll.clear()
    if last:
        yield _move(_shorten(last, rate, cut.stop), cut)


def _end_of(packet: AnyPacket) -> Fraction:
    """Return the second at which a packet ends; one without a duration lasts for a tick."""
    return begin_of(packet) + (packet.duration or 1) * packet.time_base


def _move(packet: AnyPacket, cut: Cut) -> AnyPacket:
    """Return a packet moved to the output's clock."""
    ticks = cut.ticks(packet.time_base)
    pts = round(begin_of(packet) / packet.time_base) - ticks
    packet.dts = pts if packet.dts is None else packet.dts - ticks
    packet.pts = pts
    return packet


def _shorten(packet: AnyPacket, rate: int, stop: Fraction) -> AnyPacket:
    """Return a packet that is heard only until `stop`, in seconds of the source's clock.

    Matroska stores this as samples to skip, MP4 as the packet's duration.
    """
    extra = _end_of(packet) - stop
    if extra <= 0:
        return packet
    skipped = bytes(packet.get_sidedata("skip_samples")).ljust(_SKIP_LAYOUT_BYTES, b"\0")
    at_end = int.from_bytes(skipped[4:8], "little") + round(extra * rate)
    side_data = PacketSideData(  # type: ignore[call-arg]  # the stubs lack the constructor
        packet_sidedata_type_from_literal("skip_samples"), _SKIP_LAYOUT_BYTES
    )
    side_data.update(skipped[:4] + at_end.to_bytes(4, "little") + skipped[8:])
    packet.set_sidedata(side_data)
    packet.duration = max(1, (packet.duration or 1) - round(extra / packet.time_base))
    return packet


def _without_adts(packet: AnyPacket) -> AnyPacket:
    """Return an AAC packet without the header that it has in MPEG-TS.

    FFmpeg's Matroska muxer would remove it too, but then writes wrong parameters if it knew them before.
    """
    payload = bytes(packet)
    content = without_header(payload)
    if content == payload:
        return packet
    raw = Packet(content)
    raw.pts, raw.dts, raw.duration = packet.pts, packet.dts, packet.duration
    raw.time_base, raw.is_keyframe = packet.time_base, True
    for side_data in packet.iter_sidedata():
        raw.set_sidedata(side_data)
    return raw
