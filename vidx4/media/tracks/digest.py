"""Digest the packets of streams, in a few bytes for each, to compare a copy with its source."""

import re
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
from vidx4.media.formats.codec_name import codec_name
from vidx4.media.tracks.adts import without_header
from vidx4.media.tracks.timeline import Cut
from vidx4.video import STEADY

_EMPTY_TEXT = b"\0\0"
"""Payload of the packet that MP4 needs for a pause between two texts."""
_PGS, _END_OF_SET = "hdmv_pgs_subtitle", b"\x80\0\0"
"""Codec whose pictures are sets of segments, in one packet each in Matroska and in many elsewhere; and the
segment that ends a set."""
_MARKUP = re.compile(r"\{[^{}]*\}|</?[a-zA-Z][^<>]*>|\\h")
"""Styles of ASS, to which FFmpeg decodes all text, tags of HTML, and hard spaces."""
_BREAK = re.compile(r"\\[Nn]|[\r\n]")
"""A line break: of ASS, and what PyAV makes of it."""
_LAYERS = {"mp1": "mp3", "mp2": "mp3"}
"""Layers of MPEG audio, which MP4 and MPEG-TS don't distinguish: each frame states its own."""
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
"""Sample rates by their index in the header of AAC (ISO/IEC 14496-3, table 1.18)."""
_SAME_EXTRADATA = frozenset({"alac", "flac", "vorbis"})
"""Codecs whose headers no container rewrites."""


class StreamDigest:
    """A digest of a stream's packets: hashes of their payloads, and their times.

    Args:
        stream: the stream whose packets will be added.
        origin: the second of its clock that becomes 0 in the output.
    """

    def __init__(self, stream: Stream, origin: Fraction = Fraction(0)) -> None:
        codec = codec_name(stream) or stream.type
        self.codec = _LAYERS.get(codec, codec)
        self.time_base = Fraction(stream.time_base or 1)
        self.parameters = _parameters(stream)
        self.is_coarse = isinstance(stream, AudioStream) and self.time_base * stream.rate > 1
        """Whether times are coarser than a sample of the audio."""
        self.texts: list[str] = []
        """Lines of text subtitles, without style."""
        self._origin = origin
        self._hash = sha256(stream.data if isinstance(stream, AttachmentStream) else b"")
        self._pts = array("q")
        self._hashes = array("Q")
        self._stop = Fraction(0)
        self._is_within_set = False
        self.has_packets = not self.codec.startswith("pcm_") and stream.type != "attachment"
        """Whether packets can be compared one by one; QuickTime regroups PCM samples into other packets."""

    def add(self, packet: AnyPacket, payload: bytes, cut: Cut | None) -> None:
        """Add a packet.

        Args:
            packet: the packet, for its times.
            payload: what counts of its content.
            cut: the part of the source that is kept; None for all of it.
        """
        self._hash.update(payload)
        if self._is_within_set:
            self._is_within_set = not payload.endswith(_END_OF_SET)
            return
        self._is_within_set = self.codec == _PGS and not payload.endswith(_END_OF_SET)
        self._hashes.append(int.from_bytes(sha256(payload).digest()[:8]))
        pts = packet.pts or 0
        # A subtitle that began before the cut is shown from its start on.
        if cut is not None and not cut.is_whole and packet.stream.type == "subtitle":
            pts = round(max(pts * self.time_base, cut.start) / self.time_base)
        self._pts.append(pts)
        lasts = packet.duration or pts - self._pts[max(0, len(self._pts) - 2)]  # as long as the one before
        self._stop = max(self._stop, (pts + lasts) * self.time_base)

    @property
    def content(self) -> str:
        """Hash of all payloads."""
        return self._hash.hexdigest()[:16]

    def last(self, num_packets: int) -> tuple[str, list[Fraction]]:
        """Return a hash of the last packets, and their times in seconds of the output."""
        if not num_packets:
            return "", []
        return sha256(self._hashes[-num_packets:]).hexdigest()[:16], self.times[-num_packets:]

    @property
    def num_packets(self) -> int:
        """Number of packets."""
        return len(self._pts)

    @property
    def times(self) -> list[Fraction]:
        """Time of each packet in seconds of the output."""
        return [pts * self.time_base - self._origin for pts in self._pts]

    @property
    def rounding(self) -> Fraction:
        """Seconds by which times may have been rounded when they were moved to the output's clock."""
        return self.time_base if (self._origin / self.time_base).denominator != 1 else Fraction(0)

    @property
    def length(self) -> Fraction:
        """Seconds from the first packet to the end of the last."""
        return self._stop - min(self._pts, default=0) * self.time_base


def _parameters(stream: Stream) -> tuple[object, ...]:
    if isinstance(stream, AudioStream):
        context = stream.codec_context
        extradata = context.extradata if context.codec.canonical_name in _SAME_EXTRADATA else None
        return extradata, _rate_of_aac(stream) or stream.rate, stream.channels
    return ()


def _rate_of_aac(stream: AudioStream) -> int | None:
    """Return the sample rate in the header of AAC (ISO/IEC 14496-3, 1.6.2.1), since FLV may state another."""
    header = stream.codec_context.extradata or b""
    if stream.codec_context.codec.canonical_name != "aac" or len(header) < 2:
        return None
    index = (header[0] & 0x07) << 1 | header[1] >> 7
    return _AAC_RATES[index] if index < len(_AAC_RATES) else None


def digests(
    container: InputContainer, streams: Sequence[Stream], cut: Cut | None = None
) -> Mapping[int, StreamDigest]:
    """Return digests of some streams, by their indices, in one pass over the file.

    Args:
        container: an open file.
        streams: some of its streams.
        cut: the packets that count, and the clock to which their times are moved; None for all packets on
            the file's own clock.
    """
    found = {stream.index: StreamDigest(stream, cut.origin if cut else Fraction(0)) for stream in streams}
    with_packets = [stream for stream in streams if stream.type != "attachment"]
    if not with_packets:
        return found
    packets = read_packets(container, *with_packets, clock=cut.clock if cut else STEADY)
    for packet in cut.first_packets(packets, with_packets) if cut else packets:
        digest, payload = found[packet.stream_index], _payload_of(packet)
        if payload and (cut is None or _is_inside(packet, cut)):
            digest.add(packet, payload, cut)
            digest.texts += _texts_of(packet)
    return found


def _is_inside(packet: AnyPacket, cut: Cut) -> bool:
    start = (packet.pts or 0) * packet.time_base
    return cut.holds(start, start + (packet.duration or 1) * packet.time_base)


def _payload_of(packet: AnyPacket) -> bytes:
    """Return the content of a packet without what is there only for its container."""
    payload = bytes(packet)
    codec = packet.stream.codec_context and packet.stream.codec_context.codec.canonical_name
    if codec == "mov_text" and payload == _EMPTY_TEXT:
        return b""
    return without_header(payload) if codec == "aac" else payload


def _texts_of(packet: AnyPacket) -> list[str]:
    """Return the lines of a packet of text subtitles, without style; none for other streams."""
    stream = packet.stream
    if not isinstance(stream, SubtitleStream) or not stream.codec_context:
        return []
    if not stream.codec_context.codec.text_sub:
        return []
    try:
        subtitles = stream.codec_context.decode2(packet)
    except FFmpegError:
        return []
    lines = (
        rect.dialogue.decode("utf-8", "replace") for rect in subtitles or () if hasattr(rect, "dialogue")
    )
    return [plain for line in lines for each in _BREAK.split(line) if (plain := _plain(each))]


def _plain(line: str) -> str:
    """Return the letters of a line without styles, tags and spaces, which formats write differently."""
    return "".join(_MARKUP.sub("", line).split()).removeprefix("\ufeff")
