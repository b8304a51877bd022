"""How FFmpeg gets a file: its name is only a name, and what it holds makes FFmpeg open no other."""

from functools import cache
from pathlib import Path

import av
from av.format import ContainerFormat

from vidx4.media.formats.limits import MAX_PIXELS

_OPENS_OTHERS = frozenset(
    {
        *("applehttp", "avisynth", "bluray", "concat", "concatf", "dash", "dvdvideo", "hls", "imf", "mlv"),
        *("rtp", "rtsp", "sap", "sdp", "vapoursynth", "vobsub", "webm_dash_manifest"),
    }
)
"""Demuxers of playlists, scripts and descriptions: what they name is opened, even if it is not a file.

That of Magic Lantern, `mlv`, opens `film.m00` to `film.m99` beside `film.mlv`."""
_DEVICES = frozenset(
    {
        *("alsa", "android_camera", "avfoundation", "caca", "decklink", "dshow", "fbdev", "gdigrab"),
        *("iec61883", "jack", "kmsgrab", "lavfi", "libcdio", "libdc1394", "openal", "oss", "pulse"),
        *("sndio", "v4l2", "vfwcap", "video4linux2", "video4linux2,v4l2", "x11grab", "xcbgrab"),
    }
)
_DRAWS_TEXT = frozenset({"adf", "bin", "idf", "tty", "xbin"})
"""Demuxers that draw the letters of a file."""
_REFUSED = _OPENS_OTHERS | _DEVICES | _DRAWS_TEXT


def file_url(path: Path) -> str:
    """Return the name by which FFmpeg reads and writes a file.

    FFmpeg takes what precedes a colon for a protocol: a file may be called `tcp:127.0.0.1:80.mp4`.
    """
    return f"file:{path.absolute()}"


@cache
def reading_options() -> dict[str, str]:
    """Return the options of a demuxer with which it opens one file, by its own name, and no other."""
    return {
        "format_whitelist": ",".join(sorted(_readable_formats() - _REFUSED)),
        "pattern_type": "none",  # numbered pictures are not read by FFmpeg, and a file may be called %d.png
        "protocol_whitelist": "file",
    }


def _readable_formats() -> set[str]:
    return {name for name in av.formats_available if ContainerFormat(name).is_input}


DECODER_OPTIONS = {"max_pixels": str(MAX_PIXELS)}
"""Options with which a decoder refuses larger pictures before it makes room for them."""
