"""Videos are known by their first bytes, and other files are not taken for videos."""

from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from vidx4.media.formats.signatures import begins_like_video, holds_video

VIDEOS = {
    **dict.fromkeys(("f4v", "h264", "ismv", "matroska", "mov", "mp4", "mpegts"), "libx264"),
    **dict.fromkeys(("dvd", "gxf", "mpeg2video", "mxf", "vob", "wtv"), "mpeg2video"),
    **dict.fromkeys(("mpeg", "mpeg1video", "vcd"), "mpeg1video"),
    **dict.fromkeys(("avi", "m4v", "nut"), "mpeg4"),
    **dict.fromkeys(("ivf", "ogg", "webm"), "libvpx"),
    **{"asf": "msmpeg4v3", "dv": "dvvideo", "flv": "flv", "gif": "gif", "hevc": "libx265"},
}
"""A codec for each muxer of videos."""
SOUNDS = {"flac": "flac", "ipod": "aac", "mp3": "libmp3lame", "ogg": "flac", "wav": "pcm_s16le"}
PLAIN = {"mpegts": b"\x47" + bytes(187), "m2ts": bytes(4) + b"\x47" + bytes(187)}
"""A packet of MPEG-TS, and one with the time of its arrival."""
SIZE = (720, 576)


def video(muxer: str, codec: str) -> bytes:
    file = BytesIO()
    with av.open(file, "w", format=muxer) as container:
        stream = container.add_stream(codec, rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        for _ in range(2):
            container.mux(stream.encode(VideoFrame(*SIZE, stream.pix_fmt)))
        container.mux(stream.encode(None))
    return file.getvalue()


def sound(muxer: str, codec: str) -> bytes:
    file = BytesIO()
    with av.open(file, "w", format=muxer) as container:
        stream = container.add_stream(codec, rate=48000, layout="mono")
        assert isinstance(stream, AudioStream)
        silence = AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 48000
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize("muxer", VIDEOS)
def test_videos_of_ffmpeg_are_recognised(muxer: str) -> None:
    assert begins_like_video(video(muxer, VIDEOS[muxer])[:4096])


@pytest.mark.parametrize("muxer", SOUNDS)
def test_sounds_are_no_videos(muxer: str) -> None:
    assert not begins_like_video(sound(muxer, SOUNDS[muxer])[:4096])


@pytest.mark.parametrize("packet", PLAIN.values(), ids=PLAIN)
@pytest.mark.parametrize("cut_off", [0, 100])
def test_a_recording_may_begin_within_a_packet(packet: bytes, cut_off: int) -> None:
    assert begins_like_video((packet * 8)[cut_off:])
    assert not begins_like_video((packet * 4)[cut_off:])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"\0\0\0\1",
        b"\0\0\0\x01g",
        b"G" * 3,
        b"ftyp",
        b"\x1f\x07\0",
        b"FLV\x01",
        b"AV\1\0",
        b"text " * 900,
    ],
)
def test_short_files_and_texts_are_no_videos(content: bytes) -> None:
    assert not begins_like_video(content)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF", "JPEG2000"])
def test_pictures_are_no_videos(tmp_path: Path, kind: str) -> None:
    Image.new("RGB", (32, 24), "red").save(tmp_path / "picture", kind)
    assert not holds_video(tmp_path / "picture")


def test_what_can_not_be_read_is_no_video(tmp_path: Path) -> None:
    assert not holds_video(tmp_path)
    assert not holds_video(tmp_path / "missing")
