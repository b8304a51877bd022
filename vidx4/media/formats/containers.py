"""Which container holds what."""

import os
from collections.abc import Mapping
from contextlib import suppress
from functools import cache

import av
from av.codec import Codec
from av.codec.codec import UnknownCodecError

from vidx4.errors import OutputError
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
"""Muxers of one format, of which WebM is a part."""
PICTURES = ".png"
"""The suffix of an output that is a folder of numbered pictures, as in `frames/%06d.png`."""
_VIDEO_CODECS: Mapping[str, tuple[str, ...]] = {
    "mp4": ("h264", "hevc", "av1", "vp9", "ffv1"),
    "mov": ("h264", "hevc", "prores"),
    "matroska": ("h264", "hevc", "av1", "vp9", "ffv1", "prores"),
    "webm": ("av1", "vp9"),
    "mpegts": ("h264", "hevc"),
    "image2": ("png",),
}
"""What each muxer takes of the codecs that frames are compressed by; the first suits it best."""
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
_REFUSED = {"mov": frozenset({"av1", "flac", "opus", "vp9"})}
"""What a muxer says that it takes, and then doesn't write."""
_COVERS = frozenset({"matroska", "mp4"})
"""Muxers that write covers."""
_TS_CODECS = frozenset(
    {
        *("aac", "ac3", "dca", "eac3", "mp1", "mp2", "mp3", "opus", "s302m", "truehd"),
        *("dvb_subtitle", "dvb_teletext"),
        *("klv", "scte_35", "timed_id3"),
        *("h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"),
    }
)
"""What MPEG-TS has a stream type for; its muxer doesn't tell."""


def format_of(suffix: str) -> str:
    """Return the name of FFmpeg's muxer for a suffix such as `.mp4`.

    Raises:
        OutputError: videos are not written to files of this kind.
    """
    if suffix.lower() == PICTURES:
        return "image2"
    if suffix.lower() not in FORMATS:
        raise OutputError(
            f"A video can't be written to a {suffix or 'nameless'} file: use {', '.join(FORMATS)}."
        )
    return FORMATS[suffix.lower()]


def held_codecs(suffix: str) -> tuple[str, ...]:
    """Return the codecs of `EncodeOptions` whose video a container takes; the first suits it best.

    Raises:
        OutputError: videos are not written to files of this kind.
    """
    held = _VIDEO_CODECS[format_of(suffix)]
    return held + tuple(f"{codec}_nvenc" for codec in held if f"{codec}_nvenc" in CODECS)


def check_codec(codec: str, suffix: str) -> None:
    """Make sure that a container takes video of a codec.

    Raises:
        OutputError: it doesn't.
    """
    held = held_codecs(suffix)
    if suffix == PICTURES:
        raise OutputError(f"Numbered pictures are PNG files: they take no codec, such as {codec}.")
    if codec not in held:
        takers = [each for each in FORMATS if codec in held_codecs(each)]
        raise OutputError(
            f"A {suffix} file can't hold video of {codec}: use {', '.join(takers)}, or the codec "
            f"{' or '.join(each for each in held if 'nvenc' not in each)}."
        )


def holds(suffix: str, source: Source, stream: StreamInfo) -> bool:
    """Return whether a container takes a stream of a source as it is."""
    container = format_of(suffix)
    match stream.kind:
        case "attachment":
            return container == "matroska"
        case "data":
            return container == "mpegts" and stream.codec in _TS_CODECS
        case "video" if stream.is_cover:
            return container in _COVERS and stream.codec in _codecs(container)
        case "audio" if container == "matroska" and source.container in _RIFF_TAGGED:
            return stream.codec in _codecs(container) | RIFF_AUDIO
    return stream.codec in _codecs(container)


@cache
def _codecs(container: str) -> frozenset[str]:
    if container == "mpegts":
        return _TS_CODECS
    if container == "image2":
        return frozenset()
    names = set()
    with av.open(os.devnull, "w", format=container) as output:
        for name in output.supported_codecs:
            with suppress(UnknownCodecError):  # one that only encodes has a decoder of its own
                names.add(Codec(name).canonical_name)
    return frozenset(names) - _REFUSED.get(container, frozenset())
