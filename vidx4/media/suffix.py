"""Which container holds what."""

import os
from contextlib import suppress
from functools import cache

import av
from av.codec import Codec
from av.codec.codec import UnknownCodecError

from vidx4.errors import OutputError
from vidx4.video import WHOLE, Source, StreamInfo, TimeRange

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""FFmpeg's muxer for each suffix of an output."""
RIFF_AUDIO = frozenset(
    {
        "adpcm_ima_wav",
        "adpcm_ms",
        "adpcm_swf",
        "adpcm_yamaha",
        "gsm_ms",
        "imc",
        "pcm_alaw",
        "pcm_mulaw",
        "truespeech",
        "wmalossless",
        "wmapro",
        "wmav1",
        "wmav2",
        "wmavoice",
    }
)
"""Sound that Matroska holds by the tag of AVI and WMV (`A_MS/ACM`), though its muxer doesn't say so."""
_RIFF_TAGGED = frozenset({"asf", "avi", "matroska,webm"})
"""Containers that give such tags: the muxer takes no others, such as QuickTime's."""
_WITHOUT_SHAPE = frozenset({"ffv1", "libsvtav1", "libvpx-vp9"})
"""Encoders that don't write the shape of pixels themselves, and PyAV can't tell it to Matroska's muxer."""


def format_of(suffix: str) -> str:
    """Return the name of FFmpeg's muxer for a suffix such as `.mp4`.

    Raises:
        OutputError: videos are not written to files of this kind.
    """
    if suffix.lower() not in FORMATS:
        raise OutputError(
            f"A video can't be written to a {suffix or 'nameless'} file: use {', '.join(FORMATS)}."
        )
    return FORMATS[suffix.lower()]


def check_encoder(encoder: str, source: Source, suffix: str) -> None:
    """Make sure that a container can hold what an encoder makes of a source.

    Raises:
        OutputError: it can't, or not without a loss.
    """
    container = format_of(suffix)
    if container == "mov" and encoder in _WITHOUT_SHAPE:
        raise OutputError(f"A .mov file can't hold video of {encoder}: use .mp4, .mkv or another codec.")
    if container == "matroska" and encoder in _WITHOUT_SHAPE and source.sample_aspect_ratio != 1:
        raise OutputError(
            f"The pixels of {source.path} are not square, and an .mkv file of {encoder} could not tell: "
            "use .mp4, or the codec h264 or hevc."
        )


def choose_suffix(source: Source) -> str:
    """Return the suffix of the container that keeps most of a source.

    MP4 and its elder MOV keep any time base; Matroska rounds to milliseconds but holds any kind of stream.
    A source whose times are in milliseconds already, as Matroska's are, loses nothing there.
    """
    if "matroska" in source.container:
        return ".mkv"
    suffixes = [suffix for suffix in (".mp4", ".mov", ".mkv") if not lost_streams(source, suffix)]
    if _has_pcm(source) and ".mov" in suffixes:
        return ".mov"  # few players take uncompressed sound in MP4
    return next(iter(suffixes), ".mp4" if "mp4" in source.container else ".mkv")


def _has_pcm(source: Source) -> bool:
    return any(stream.codec.startswith("pcm_") for stream in source.streams)


def lost_streams(source: Source, suffix: str, span: TimeRange = WHOLE) -> tuple[StreamInfo, ...]:
    """Return the streams of a source that an output of a span leaves out.

    These are what its container can't hold and, unless the span is the whole, other videos and covers: they
    have no keyframe where it begins.

    Raises:
        OutputError: videos are not written to files of this kind.
    """
    container = format_of(suffix)
    others = (stream for stream in source.streams if stream.index != source.video_index)
    return tuple(
        stream
        for stream in others
        if not _holds(container, source, stream) or (stream.kind == "video" and not span.is_whole)
    )


def _holds(container: str, source: Source, stream: StreamInfo) -> bool:
    match stream.kind:
        case "attachment":
            return container == "matroska"
        case "data":
            return False
        case "audio" if container == "matroska" and source.container in _RIFF_TAGGED:
            return stream.codec in _codecs(container) | RIFF_AUDIO
    return stream.codec in _codecs(container)


@cache
def _codecs(container: str) -> frozenset[str]:
    names = set()
    with av.open(os.devnull, "w", format=container) as output:
        for name in output.supported_codecs:
            with suppress(UnknownCodecError):  # one that only encodes has a decoder of its own
                names.add(Codec(name).canonical_name)
    return frozenset(names)
