"""What the packets of streams hold, in a few bytes for each packet."""

from array import array
from collections.abc import Mapping, Sequence
from fractions import Fraction
from hashlib import sha256

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import AttachmentStream, Stream
from av.subtitles.stream import SubtitleStream

from vidx4.media.container import AnyPacket, read_packets
from vidx4.media.tracks.timeline import Cut

_ADTS_HEADER, _ADTS_CRC = 7, 2
"""Bytes before each frame of AAC in MPEG-TS (ISO/IEC 13818-7, 6.2), which MP4 and Matroska leave away."""
_EMPTY_TEXT = b"\0\0"
"""What MP4 shows between two texts."""
_PGS, _END_OF_SET = "hdmv_pgs_subtitle", b"\x80\0\0"
"""A picture of these subtitles is a set of segments, which Matroska keeps in one packet, others in many."""
_LAYERS = {"mp1": "mp3", "mp2": "mp3"}
"""The layers of MPEG audio, which MP4 and MPEG-TS don't tell apart; every frame says which it is of."""
_SAME_EXTRADATA = frozenset({"alac", "flac", "vorbis"})
"""Codecs whose headers no container rewrites."""


class StreamDigest:
    """What the packets of a stream hold.

    Args:
        stream: whose packets will be added.
        origin: the second of its clock that becomes 0.
    """

    def __init__(self, stream: Stream, origin: Fraction = Fraction(0)) -> None:
        context = stream.codec_context
        codec: str = context.codec.canonical_name if context else stream.type
        self.codec = _LAYERS.get(codec, codec)
        self.time_base = Fraction(stream.time_base or 1)
        self.parameters = _parameters(stream)
        self.is_coarse = isinstance(stream, AudioStream) and self.time_base * stream.rate > 1
        """Whether times are known to less than a sample of sound."""
        self.texts: list[str] = []
        """What subtitles say."""
        self._origin = origin
        self._hash = sha256(stream.data if isinstance(stream, AttachmentStream) else b"")
        self._pts = array("q")
        self._hashes = array("Q")
        self._stop = Fraction(0)
        self._is_amid_set = False
        # QuickTime regroups samples into other packets.
        self.has_packets = not self.codec.startswith("pcm_") and stream.type != "attachment"

    def add(self, packet: AnyPacket, payload: bytes, cut: Cut | None) -> None:
        """Add a packet; of a cut, what is inside of it."""
        self._hash.update(payload)
        if self._is_amid_set:
            self._is_amid_set = not payload.endswith(_END_OF_SET)
            return
        self._is_amid_set = self.codec == _PGS and not payload.endswith(_END_OF_SET)
        self._hashes.append(int.from_bytes(sha256(payload).digest()[:8]))
        pts = packet.pts or 0
        if cut is not None and packet.stream.type == "subtitle":
            pts = round(
                max(pts * self.time_base, cut.start if not cut.is_whole else pts * self.time_base)
                / self.time_base
            )
        self._pts.append(pts)
        self._stop = max(self._stop, (pts + (packet.duration or 0)) * self.time_base)

    @property
    def content(self) -> str:
        """A hash of all payloads."""
        return self._hash.hexdigest()[:16]

    def last(self, num_packets: int) -> tuple[str, list[Fraction]]:
        """Return a hash of the last packets, as many as are asked for, and their times."""
        if not num_packets:
            return "", []
        return sha256(self._hashes[-num_packets:]).hexdigest()[:16], self.times[-num_packets:]

    @property
    def num_packets(self) -> int:
        """Number of packets."""
        return len(self._pts)

    @property
    def times(self) -> list[Fraction]:
        """When each packet is shown, in seconds of the output."""
        return [pts * self.time_base - self._origin for pts in self._pts]

    @property
    def rounding(self) -> Fraction:
        """By how much times had to be rounded to be moved, in seconds."""
        return self.time_base if (self._origin / self.time_base).denominator != 1 else Fraction(0)

    @property
    def length(self) -> Fraction:
        """Seconds from the first packet to the end of the last."""
        return self._stop - min(self._pts, default=0) * self.time_base


def _parameters(stream: Stream) -> tuple[object, ...]:
    if isinstance(stream, AudioStream):
        context = stream.codec_context
        extradata = context.extradata if context.codec.canonical_name in _SAME_EXTRADATA else None
        return extradata, stream.rate, stream.channels
    return ()


def digests(
    container: InputContainer, streams: Sequence[Stream], cut: Cut | None = None
) -> Mapping[int, StreamDigest]:
    """Return what the packets of some streams hold, by the index of each, after one pass over the file.

    Args:
        container: that they are in.
        streams: of it.
        cut: tells which packets count, and by how much their times are moved; all, by nothing, where None.
    """
    found = {stream.index: StreamDigest(stream, cut.origin if cut else Fraction(0)) for stream in streams}
    packets = [stream for stream in streams if stream.type != "attachment"]
    if not packets:
        return found
    for packet in read_packets(container, *packets):
        digest, payload = found[packet.stream_index], _payload(packet)
        if payload and (cut is None or _counts(packet, cut)):
            digest.add(packet, payload, cut)
            digest.texts += _texts(packet)
    return found


def _counts(packet: AnyPacket, cut: Cut) -> bool:
    start = (packet.pts or 0) * packet.time_base
    return cut.holds(start, start + (packet.duration or 1) * packet.time_base)


def _payload(packet: AnyPacket) -> bytes:
    """Return what a packet holds, without what only its container wants."""
    payload = bytes(packet)
    codec = packet.stream.codec_context and packet.stream.codec_context.codec.canonical_name
    if codec == "mov_text" and payload == _EMPTY_TEXT:
        return b""
    if codec == "aac" and len(payload) > _ADTS_HEADER and _adts_length(payload) == len(payload):
        has_crc = not payload[1] & 1
        return payload[_ADTS_HEADER + _ADTS_CRC * has_crc :]
    return payload


def _adts_length(payload: bytes) -> int:
    """Return the length that a header of ADTS states; 0 where there is none."""
    is_header = payload[0] == 0xFF and payload[1] & 0xF6 == 0xF0
    return (payload[3] & 3) << 11 | payload[4] << 3 | payload[5] >> 5 if is_header else 0


def _texts(packet: AnyPacket) -> list[str]:
    """Return the lines that a packet of text subtitles shows, without style."""
    stream = packet.stream
    if not isinstance(stream, SubtitleStream) or not stream.codec_context.codec.text_sub:
        return []
    try:
        subtitles = stream.codec_context.decode2(packet)
    except FFmpegError:
        return []
    return [rect.dialogue.decode("utf-8", "replace") for rect in subtitles or () if hasattr(rect, "dialogue")]
