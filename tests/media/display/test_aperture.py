"""The clean aperture: carried along, four times larger."""

from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.conftest import MakeVideo
from tests.helpers import upscale_nearest
from tests.video_builder import MARGINS, frames, scene, with_aperture, write
from vidx4.appearance import Margins
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalExecutor
from vidx4.jobs.plan import plan_video
from vidx4.jobs.request import Request
from vidx4.jobs.run import run
from vidx4.jobs.verify import verify
from vidx4.media.options import EncodeOptions
from vidx4.media.probe import probe


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    plain = write(tmp_path / "a.mp4", frames(scene(4)), num_audio=0, sample_aspect_ratio=Fraction(16, 15))
    return with_aperture(plain)


def in_matroska(clip: Path) -> Path:
    path = clip.with_suffix(".mkv")
    with av.open(str(clip)) as source, av.open(str(path), "w") as container:
        copy = container.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = copy
                container.mux(packet)
    return path


def enlarged(
    path: Path, output: Path, codec: str = "auto", width: int | None = None, height: int | None = None
) -> Path:
    preset = {"av1": "10", "vp9": "8"}.get(codec)
    plan = plan_video(
        path, output, Request(encode=EncodeOptions(codec, encoder_preset=preset, width=width, height=height))
    )
    run(Job(plan, LocalExecutor(upscale_nearest), 8))
    return output


@pytest.mark.parametrize(
    ("name", "codec"),
    [("b.mp4", "h264"), ("b.mov", "prores"), ("b.mkv", "hevc"), ("b.mkv", "av1"), ("b.webm", "vp9")],
)
def test_the_aperture_is_kept(clip: Path, tmp_path: Path, name: str, codec: str) -> None:
    for source in (clip, in_matroska(clip)):
        assert probe(source).margins == MARGINS
        output = enlarged(source, tmp_path / f"{source.suffix}{name}", codec)
        copy = probe(output)
        assert copy.margins == Margins(16, 32, 48, 24)
        assert copy.sample_aspect_ratio == Fraction(16, 15)
        assert (copy.width, copy.height) == (4 * probe(source).width, 4 * probe(source).height)
        assert all(check.is_kept for check in verify(source, output))


def test_it_follows_the_final_size(clip: Path, tmp_path: Path) -> None:
    source = probe(clip)
    output = enlarged(clip, tmp_path / "b.mp4", width=2 * source.width, height=source.height)
    assert probe(output).margins == Margins(8, 8, 24, 6)


def test_a_container_that_can_not_store_it(clip: Path, tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.mp4", frames(scene(4)), num_audio=0, sample_aspect_ratio=Fraction(16, 15))
    with_edges, without = (plan_video(path, tmp_path / "b.ts") for path in (clip, plain))
    assert not with_edges.written.target.margins
    assert len(with_edges.warnings) == len(without.warnings) + 1
    assert plan_video(clip).warnings == plan_video(plain).warnings


def test_a_loss_is_found(clip: Path, tmp_path: Path) -> None:
    output = enlarged(clip, tmp_path / "b.mp4")
    data = output.read_bytes()
    output.write_bytes(data.replace(b"clap", b"free"))
    assert [check.subject for check in verify(clip, output) if not check.is_kept] == ["margins"]


def test_a_digital_tape(make_video: MakeVideo) -> None:
    """DV, which FFmpeg's muxer of Matroska refuses."""
    pal = {"width": 720, "height": 576, "time_base": Fraction(1, 25)}
    path = make_video("a.mov", codec="dvvideo", num_frames=2, num_audio=0, num_b_frames=0, **pal)
    assert probe(path).margins == Margins()
    assert probe(with_aperture(path)).margins == MARGINS


def test_a_preview_shows_all_of_the_picture(clip: Path, tmp_path: Path) -> None:
    """A preview has captions at its edges."""
    shown = plan_video(clip, tmp_path / "b.mp4").written.target
    assert shown.margins
    assert not shown.side_by_side(1).margins
