import os
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import pytest
from av.packet import Packet
from av.video.stream import VideoStream
from PIL import Image

from tests.capabilities import needs_pipes
from tests.conftest import MakeVideo
from vidx4.errors import SourceError
from vidx4.media.probe import probe

VFR = [0, 512, 1024, 2600, 3112, 5000, 5001, 9000]


@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
def test_times_are_exact(make_video: MakeVideo, name: str) -> None:
    source = probe(make_video(name, pts=VFR))
    assert source.pts == tuple(VFR)
    assert source.time_base == Fraction(1, 12800)
    assert source.stop_pts > VFR[-1]


def test_takes_a_path_as_text(make_video: MakeVideo) -> None:
    path = make_video()
    assert probe(str(path)) == probe(path)


def test_late_start(make_video: MakeVideo) -> None:
    pts = [128_000 + 512 * index for index in range(8)]
    assert probe(make_video(pts=pts)).pts == tuple(pts)


@pytest.mark.parametrize(
    ("name", "codec", "time_base"),
    [
        ("a.avi", "mpeg4", Fraction(1, 25)),
        ("a.avi", "libx264", Fraction(1, 25)),
        ("a.mkv", "libx264", Fraction(1, 25)),
        ("a.webm", "libvpx-vp9", Fraction(1, 1000)),
        ("a.ts", "libx264", Fraction(1, 90000)),
        ("a.mpg", "mpeg2video", Fraction(1, 25)),
        ("a.y4m", "wrapped_avframe", Fraction(1, 25)),
    ],
)
def test_every_frame_counts_once(make_video: MakeVideo, name: str, codec: str, time_base: Fraction) -> None:
    source = probe(make_video(name, codec=codec, time_base=time_base, num_audio=0))
    assert source.num_frames == 20
    assert source.frame_rate == 25
    assert source.duration == pytest.approx(20 / 25, abs=0.002)


def test_streams(make_video: MakeVideo) -> None:
    video, english, french = probe(make_video(num_audio=2)).streams
    assert (video.kind, video.codec, video.details) == ("video", "h264", "64x48 yuv420p")
    assert (english.kind, english.codec, english.details) == ("audio", "aac", "stereo 48000 Hz")
    assert (english.language, french.language) == ("eng", "fra")


def test_a_single_frame_has_a_duration(make_video: MakeVideo) -> None:
    source = probe(make_video(num_frames=1, num_audio=0))
    assert source.num_frames == 1
    assert source.duration == Fraction(1, 25)


@pytest.mark.parametrize(("height", "matrix"), [(480, 6), (576, 5), (578, 1)])
def test_unknown_matrix_follows_the_height(make_video: MakeVideo, height: int, matrix: int) -> None:
    source = probe(make_video(height=height, num_frames=1, num_audio=0))
    assert source.color.matrix == matrix
    assert not source.color.full_range


def test_color_is_read(make_video: MakeVideo) -> None:
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": 16, "color_range": 2}
    source = probe(make_video(pix_fmt="yuv420p10le", num_audio=0, **tags))
    assert (source.color.matrix, source.color.primaries, source.color.transfer) == (9, 9, 16)
    assert source.color.full_range
    assert source.color.is_hdr
    assert source.bit_depth == 10


def test_yuvj_is_full_range(make_video: MakeVideo) -> None:
    tags = {"color_range": 2, "num_b_frames": 0}
    path = make_video("a.avi", codec="mjpeg", pix_fmt="yuvj422p", time_base=Fraction(1, 25), **tags)
    assert probe(path).color.full_range


def test_shape_of_pixels(make_video: MakeVideo) -> None:
    path = make_video(sample_aspect_ratio=Fraction(16, 15), num_audio=0)
    assert probe(path).sample_aspect_ratio == Fraction(16, 15)


@pytest.mark.parametrize("name", ["a.avi", "a.mov"])
@pytest.mark.parametrize(
    ("orientation", "rotation", "turn"),
    [(1, 0, None), (3, 180, (-1, 0, 0, -1)), (6, 270, (0, 1, -1, 0)), (8, 90, (0, -1, 1, 0))],
)
def test_pictures_with_exif(
    tmp_path: Path, name: str, orientation: int, rotation: int, turn: tuple[int, ...] | None
) -> None:
    _write_photos(tmp_path / name, orientation, num_frames=3)
    source = probe(tmp_path / name)
    assert (source.num_frames, source.rotation) == (3, rotation)
    matrix = source.display_matrix
    assert (matrix and tuple(matrix[index] >> 16 for index in (0, 1, 3, 4))) == turn


def _write_photos(path: Path, orientation: int, num_frames: int) -> None:
    """Write a video of JPEG pictures as a camera makes them."""
    photo, exif = BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (64, 48)).save(photo, "JPEG", exif=exif)
    with av.open(str(path), "w") as container:
        video = container.add_stream("mjpeg", rate=25)
        assert isinstance(video, VideoStream)
        video.width, video.height, video.pix_fmt = 64, 48, "yuvj420p"
        for index in range(num_frames):
            packet = Packet(photo.getvalue())
            packet.stream, packet.time_base, packet.is_keyframe = video, Fraction(1, 25), True
            packet.pts = packet.dts = index
            container.mux(packet)


def test_bad_files(tmp_path: Path, make_video: MakeVideo) -> None:
    video = make_video()
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.txt").write_text("Not a video.\n" * 100)
    (tmp_path / "noise.mp4").write_bytes(bytes(range(256)) * 100)
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:-3000])
    for name in ("missing.mp4", "empty.mp4", "text.txt", "noise.mp4", "cut.mp4", "."):
        with pytest.raises(SourceError) as error:
            probe(tmp_path / name)
        assert "\n" not in str(error.value)


@needs_pipes
def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(SourceError, match=r"pipe\.mp4"):
        probe(tmp_path / "pipe.mp4")


def test_a_name_with_a_colon_is_a_file(make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video("http:a.mp4")
    monkeypatch.chdir(path.parent)
    assert probe(Path(path.name)).num_frames == 20
