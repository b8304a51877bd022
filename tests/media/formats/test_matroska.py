"""The shape of pixels in Matroska and WebM, as FFmpeg and an independent parser of the file read it."""

from fractions import Fraction
from pathlib import Path
from zlib import crc32

import av
import pytest

from tests.conftest import MakeVideo
from tests.helpers import upscale_nearest
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalExecutor
from vidx4.jobs.plan import plan_video
from vidx4.jobs.request import Request
from vidx4.jobs.run import run
from vidx4.jobs.verify import verify
from vidx4.media.options import EncodeOptions
from vidx4.media.probe import probe

PRESETS = {"av1": "10", "vp9": "8"}


def enlarged(path: Path, output: Path, codec: str, width: int | None = None) -> Path:
    encode = EncodeOptions(codec, encoder_preset=PRESETS.get(codec), width=width)
    run(Job(plan_video(path, output, Request(encode=encode)), LocalExecutor(upscale_nearest), 8))
    return output


@pytest.mark.parametrize(
    ("name", "codec", "ratio"),
    [
        ("out.mkv", "av1", Fraction(16, 15)),
        ("out.webm", "vp9", Fraction(64, 45)),
        ("out.mkv", "ffv1", Fraction(8, 9)),
        ("out.mkv", "h264", Fraction(12, 11)),
        ("out.mkv", "av1", Fraction(255, 254)),
    ],
)
def test_the_shape_is_kept(
    make_video: MakeVideo, tmp_path: Path, name: str, codec: str, ratio: Fraction
) -> None:
    path = make_video(sample_aspect_ratio=ratio, num_frames=4, num_audio=0)
    output = enlarged(path, tmp_path / name, codec)
    assert probe(output).sample_aspect_ratio == ratio
    assert all(check.is_kept for check in verify(path, output))


def test_what_else_a_track_says_is_kept(make_video: MakeVideo, tmp_path: Path) -> None:
    plain, path = make_video(sample_aspect_ratio=Fraction(16, 15), num_audio=0), tmp_path / "named.mkv"
    with av.open(str(plain)) as source, av.open(str(path), "w") as container:
        video = container.add_stream_from_template(source.streams.video[0])
        video.metadata["title"] = "A film "
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = video
                container.mux(packet)
    output = enlarged(path, tmp_path / "out.mkv", "av1")
    with av.open(str(output)) as container:
        assert container.streams.video[0].metadata["title"] == "A film "
    data = output.read_bytes()
    assert b" " * 30 not in data
    tracks = data.rindex(bytes.fromhex("1654ae6b")) + 4
    width = 9 - data[tracks].bit_length()
    length = int.from_bytes(data[tracks : tracks + width], "big") & ((1 << 7 * width) - 1)
    content = data[tracks + width : tracks + width + length]
    assert content[:2] == b"\xbf\x84"
    assert int.from_bytes(content[2:6], "little") == crc32(content[6:])


def test_square_pixels_leave_the_file_alone(make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(sample_aspect_ratio=Fraction(2), num_frames=4, num_audio=0)
    output = enlarged(path, tmp_path / "out.mkv", "av1", width=512)
    assert probe(output).sample_aspect_ratio == 2
    square = enlarged(make_video("b.mp4", num_frames=4, num_audio=0), tmp_path / "square.mkv", "av1")
    assert bytes.fromhex("54b0") + b"\x84" not in square.read_bytes()
