"""Choose and make what a stream becomes in a container that can't hold it unchanged."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Stream
from av.subtitles.stream import SubtitleStream

from vidx4.media.container import AnyPacket
from vidx4.media.tracks.audio import AAC_RATE, OPUS_RATE, add_sound_stream, convert_sound
from vidx4.media.tracks.audio_trim import trim_sound
from vidx4.media.tracks.subtitle_trim import clip_subtitles, read_around
from vidx4.media.tracks.subtitles import add_text_stream, convert_text
from vidx4.media.tracks.timeline import Cut, time_copies


@dataclass(frozen=True)
class Conversion:
    """The codec that a stream is converted to."""

    codec: str
    """FFmpeg's name of the codec."""
    note: str
    """What the conversion keeps or costs, such as `loses nothing`."""


_TEXTS = frozenset({"mov_text", "subrip", "text", "webvtt"})
"""Codecs of text subtitles without positions, by FFmpeg's names."""
_TEXT_CODECS: Mapping[str, Conversion] = {
    "mp4": Conversion("mov_text", "keeps text, styles and colours, but not the position on the screen"),
    "mov": Conversion("mov_text", "keeps text, styles and colours, but not the position on the screen"),
    "matroska": Conversion("subrip", "loses nothing"),
    "webm": Conversion("webvtt", "keeps text and styles, but only eight colours"),
}
"""What text subtitles become, by FFmpeg's name of the muxer; MPEG-TS holds only pictures of text."""
_EIGHT_BITS = frozenset({"pcm_alaw", "pcm_mulaw", "pcm_s8", "pcm_s8_planar", "pcm_sga", "pcm_u8", "pcm_vidc"})
_PLAIN: dict[str, str] = {
    **dict.fromkeys(("pcm_s16be", "pcm_s16be_planar", "pcm_s16le_planar", "pcm_u16be"), "pcm_s16le"),
    **dict.fromkeys(("pcm_s16le", "pcm_u16le"), "pcm_s16le"),
    **dict.fromkeys(("pcm_bluray", "pcm_dvd", "pcm_lxf", "pcm_s24be", "pcm_s24le_planar"), "pcm_s24le"),
    **dict.fromkeys(("mlp", "pcm_s24daud", "pcm_s24le", "pcm_u24be", "pcm_u24le", "truehd"), "pcm_s24le"),
}
"""Codecs of audio of up to 24 bits, and the plain PCM that holds the same samples."""
_WIDE: dict[str, str] = {
    **dict.fromkeys(("pcm_s32be", "pcm_s32le", "pcm_s32le_planar", "pcm_u32be", "pcm_u32le"), "pcm_s32le"),
    **dict.fromkeys(("pcm_f16le", "pcm_f24le", "pcm_f32be", "pcm_f32le"), "pcm_f32le"),
    **dict.fromkeys(("pcm_f64be", "pcm_f64le"), "pcm_f64le"),
}
"""Codecs whose samples have more bits than FLAC and ALAC hold, and the PCM that holds the same samples."""
_PACKED = frozenset(
    {"alac", "ape", "flac", "osq", "ralf", "shorten", "sonicls", "tak", "tta", "wavarc", "wmalossless"}
)
"""Codecs that compress audio losslessly."""
_BROADCAST = frozenset({"aac_latm"})
"""Lossy codecs that are converted all the same: only MPEG-TS holds them, which few other programs take."""
_LOSSLESS = _EIGHT_BITS | _PACKED | _PLAIN.keys() | _WIDE.keys()


def conversion(codec: str, container: str) -> Conversion | None:
    """Return what a stream becomes in a container that can't hold it; None if too much would be lost.

    Subtitles with positions and layout (ASS), subtitles that are pictures, and audio that is lossy already
    are not converted.

    Args:
        codec: FFmpeg's name of the stream's codec.
        container: FFmpeg's name of the muxer.
    """
    if codec in _TEXTS:
        return _TEXT_CODECS.get(container)
    if codec in _BROADCAST:
        return compression(container)
    if codec not in _LOSSLESS:
        return None
    match container:
        case "mpegts" | "webm":
            return compression(container)
        case "matroska":
            return Conversion(_WIDE.get(codec, "flac"), "loses nothing")
    return Conversion((_PLAIN | _WIDE).get(codec, "alac"), "loses nothing")


def compression(container: str) -> Conversion:
    """Return the codec that any sound is compressed with in a container.

    Args:
        container: FFmpeg's name of the muxer.
    """
    if container == "webm":
        return Conversion("opus", f"compressed with Opus at {OPUS_RATE // 1000} kbit/s per channel")
    return Conversion("aac", f"compressed with AAC at {AAC_RATE // 1000} kbit/s per channel")


def add_converted(output: OutputContainer, stream: Stream, codec: str) -> Stream:
    """Add a stream to an output for the converted packets of another.

    Args:
        output: an output whose header is not written yet.
        stream: the source's stream.
        codec: FFmpeg's name of the codec, from `conversion`.
    """
    if isinstance(stream, AudioStream):
        return add_sound_stream(output, stream, codec)
    return add_text_stream(output, codec)


def converted(original: InputContainer, stream: Stream, copy: Stream, cut: Cut) -> Iterator[AnyPacket]:
    """Yield the packets of a stream converted for an output, on its clock.

    Args:
        original: the source, which nothing else may read meanwhile.
        stream: one of its streams.
        copy: the output's stream, from `add_converted`; the header of its container must be written.
        cut: the part of the source that is kept.
    """
    packets = read_around(original, stream, cut)
    if isinstance(stream, AudioStream) and isinstance(copy, AudioStream):
        return convert_sound(packets, stream, copy, cut)
    assert isinstance(stream, SubtitleStream)
    return convert_text(clip_subtitles(packets, stream, cut), stream, copy)


def part_of(original: InputContainer, stream: Stream, copy: Stream, cut: Cut) -> Iterator[AnyPacket]:
    """Yield the packets of an audio or subtitle stream that belong to a part of a video, copied.

    Args:
        original: the source, which nothing else may read meanwhile.
        stream: one of its streams.
        copy: the output's stream.
        cut: the part of the source that is kept.
    """
    packets = read_around(original, stream, cut)
    if isinstance(stream, AudioStream):
        yield from trim_sound(packets, stream, copy, cut)
        return
    # What has no decoder, such as teletext, can only be moved.
    clip = clip_subtitles(packets, stream, cut) if stream.codec_context else time_copies(packets, cut)
    for packet in clip:
        packet.stream = copy
        yield packet
