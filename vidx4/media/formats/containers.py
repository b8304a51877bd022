"""Containers, and what they can hold."""

import os
from collections.abc import Mapping
from contextlib import suppress
from functools import cache

import av
from av.codec import Codec
from av.codec.codec import UnknownCodecError

from vidx4.errors import ContainerError, OutputError
from vidx4.media.formats.encoders import CODECS
from vidx4.video import Source, StreamInfo

FORMATS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
    ".ts": "mpegts",
}
"""FFmpeg's muxer for each suffix of an output."""
MATROSKA = frozenset({"matroska", "webm"})
"""Muxers of Matroska and of its subset WebM."""
PICTURES = ".png"
"""The suffix of an output that is numbered pictures, as in `frames/%06d.png`."""
_VIDEO_CODECS: Mapping[str, tuple[str, ...]] = {
    "mp4": ("h264", "hevc", "av1", "vp9", "ffv1"),
    "mov": ("h264", "hevc", "prores"),
    "matroska": ("h264", "hevc", "av1", "vp9", "ffv1", "prores"),
    "webm": ("av1", "vp9"),
    "mpegts": ("h264", "hevc"),
    "image2": ("png",),
}
"""The video codecs that a muxer takes, among those that we encode; the first one suits it best."""
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
"""Audio codecs that Matroska holds by their tag of AVI and WMV (`A_MS/ACM`), though its muxer lists none."""
_RIFF_TAGGED = frozenset({"asf", "avi", "matroska,webm"})
"""Demuxers that give such tags; the muxer refuses others, such as QuickTime's."""
_REFUSED = {
    "matroska": frozenset({"atrac3", "cook", "ra_288", "rv10", "rv20", "sipr"}),
    "mov": frozenset({"av1", "flac", "opus", "truehd", "vp9"}),
    "mp4": frozenset({"truehd"}),
}
"""Codecs that a muxer lists, but fails to write."""
_ATTACHED = frozenset({"mjpeg", "png"})
"""Codecs of covers that Matroska holds, as attached files."""
_COVERS = frozenset({"matroska", "mp4"})
"""Muxers that can write covers."""
_TS_CODECS = frozenset(
    {
        *("aac", "aac_latm", "ac3", "dca", "eac3", "mp1", "mp2", "mp3", "opus", "s302m", "truehd"),
        *("dvb_subtitle", "dvb_teletext"),
        *("klv", "scte_35", "timed_id3"),
        *("h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"),
    }
)
"""Codecs that MPEG-TS has a stream type for; its muxer has no list."""


def format_of(suffix: str) -> str:
    """Return the name of FFmpeg's muxer for a suffix such as `.mp4`.

    Raises:
        OutputError: videos can't be written to files of this kind.
    """
    if suffix.lower() == PICTURES:
        return "image2"
    if suffix.lower() not in FORMATS:
        kind, or_folder = (suffix, "") if suffix else ("file without a suffix", ", or end a folder with /")
        raise OutputError(f"A video can't be written to a {kind}: use {', '.join(FORMATS)}{or_folder}.")
    return FORMATS[suffix.lower()]


def held_codecs(suffix: str) -> tuple[str, ...]:
    """Return the codecs of `EncodeOptions` that a container can hold; the first one suits it best.

    Raises:
        OutputError: videos can't be written to files of this kind.
    """
    held = _VIDEO_CODECS[format_of(suffix)]
    return held + tuple(f"{codec}_nvenc" for codec in held if f"{codec}_nvenc" in CODECS)


def check_codec(codec: str, suffix: str) -> None:
    """Check that a container can hold video of a codec.

    Raises:
        ContainerError: it can't.
    """
    held = held_codecs(suffix)
    if suffix == PICTURES:
        raise ContainerError(f"Numbered pictures are PNG files, without a codec such as {codec}.")
    if codec not in held:
        takers = [each for each in FORMATS if codec in held_codecs(each)]
        raise ContainerError(
            f"A {suffix} file can't hold {codec} video: use {', '.join(takers)}, or the codec "
            f"{' or '.join(each for each in held if 'nvenc' not in each)}."
        )


def holds(suffix: str, source: Source, stream: StreamInfo) -> bool:
    """Return whether a container can hold a stream of a source as it is."""
    container = format_of(suffix)
    match stream.kind:
        case "attachment":
            return container == "matroska"
        case "data":
            return container == "mpegts" and stream.codec in _TS_CODECS
        case "video" if stream.is_cover:
            is_attached = container == "matroska" and stream.codec in _ATTACHED
            return is_attached or (container in _COVERS and stream.codec in _codecs(container))
        case "audio" if container == "matroska" and source.container in _RIFF_TAGGED:
            return stream.codec in _codecs(container) | RIFF_AUDIO
    return stream.codec in _codecs(container)


@cache
def _codecs(container: str) -> frozenset[str]:
    """Return the codecs that a muxer writes, under the names of their decoders."""
    if container == "mpegts":
        return _TS_CODECS
    if container == "image2":
        return frozenset()
    names = set()
    with av.open(os.devnull, "w", format=container) as output:
        for name in output.supported_codecs:
            with suppress(UnknownCodecError):  # FFmpeg has no decoder of that name
                names.add(Codec(name).canonical_name)
    return frozenset(names) - _REFUSED.get(container, frozenset())
