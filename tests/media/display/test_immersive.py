"""360-degree and stereoscopic videos are shown as such when enlarged."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from av.container import OutputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from tests.helpers import upscale_nearest
from tests.video_builder import frames, scene, write
from vidx4.appearance import Projection, Sphere, Stereo, StereoLayout
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalExecutor
from vidx4.jobs.plan import Plan, plan_video
from vidx4.jobs.request import Request
from vidx4.jobs.run import run
from vidx4.jobs.verify import verify
from vidx4.media.display.immersive import STEREO_TAG, to_boxes
from vidx4.media.formats.boxes import append_to_sample_entry
from vidx4.media.options import EncodeOptions
from vidx4.media.probe import probe

ORIENTATION = (45 << 16, -30 << 16, 15 << 16)
WHOLE_SPHERE = Sphere(Projection.EQUIRECTANGULAR, ORIENTATION)
FRONT = Sphere(Projection.EQUIRECTANGULAR_TILE, ORIENTATION, (1 << 30, 1 << 28, 1 << 30, 1 << 27))
CUBE = Sphere(Projection.CUBEMAP, ORIENTATION, padding=3)
TOP_BOTTOM, SIDE_BY_SIDE = Stereo(StereoLayout.TOP_BOTTOM), Stereo(StereoLayout.SIDE_BY_SIDE)


def immersive(path: Path, sphere: Sphere | None, stereo: Stereo | None, **options: object) -> Path:
    write(path, frames(scene(4)), **options)  # type: ignore[arg-type]
    append_to_sample_entry(path, to_boxes(sphere, stereo))
    return path


def planned(
    path: Path, output: Path, codec: str = "auto", width: int | None = None, height: int | None = None
) -> Plan:
    preset = {"h264": "ultrafast", "hevc": "ultrafast", "av1": "10", "vp9": "8"}.get(codec)
    encode = EncodeOptions(codec, encoder_preset=preset, width=width, height=height)
    return plan_video(path, output, Request(encode=encode))


def enlarge(path: Path, output: Path, codec: str = "auto", **size: int) -> Path:
    run(Job(planned(path, output, codec, **size), LocalExecutor(upscale_nearest), 4))  # also verifies
    return output


@pytest.mark.parametrize(
    ("sphere", "stereo", "enlarged"),
    [
        (WHOLE_SPHERE, TOP_BOTTOM, WHOLE_SPHERE),
        (FRONT, None, FRONT),
        (CUBE, SIDE_BY_SIDE, Sphere(Projection.CUBEMAP, ORIENTATION, padding=12)),
        (None, SIDE_BY_SIDE, None),
    ],
)
@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("h264", ".mp4"), ("hevc", ".mov"), ("h264", ".mkv"), ("ffv1", ".mkv"), ("vp9", ".webm")],
)
def test_players_are_told_how_to_show_it(
    tmp_path: Path, codec: str, suffix: str, sphere: Sphere, stereo: Stereo, enlarged: Sphere
) -> None:
    source = immersive(tmp_path / "a.mp4", sphere, stereo, num_audio=0, sample_aspect_ratio=Fraction(4, 3))
    plan = planned(source, tmp_path / f"out{suffix}", codec)
    assert not any("dropped" in warning for warning in plan.warnings)
    copy = probe(enlarge(source, plan.output, codec))
    assert (copy.sphere, copy.stereo) == (enlarged, stereo)
    assert copy.sample_aspect_ratio == Fraction(4, 3)
    assert all(check.is_kept for check in verify(source, plan.output))


def test_sound_and_size_do_not_matter(tmp_path: Path) -> None:
    source = immersive(tmp_path / "a.mp4", CUBE, SIDE_BY_SIDE, num_audio=2)
    copy = probe(enlarge(source, tmp_path / "out.mp4", "h264", width=192))
    assert copy.sphere == Sphere(Projection.CUBEMAP, ORIENTATION, padding=6)
    assert [stream.kind for stream in copy.streams] == ["video", "audio", "audio"]


@pytest.mark.parametrize(("suffix", "is_held"), [(".mp4", True), (".mov", True), (".mkv", False)])
def test_a_turned_sphere(tmp_path: Path, suffix: str, is_held: bool) -> None:
    def turn(container: OutputContainer, video: VideoStream) -> Sequence[Stream]:
        video.set_display_rotation(90)
        return []

    source = immersive(tmp_path / "a.mp4", WHOLE_SPHERE, None, num_audio=0, prepare=turn)
    plan = planned(source, tmp_path / f"out{suffix}", "h264")
    assert any("360-degree" in warning for warning in plan.warnings) != is_held
    copy = probe(enlarge(source, plan.output, "h264"))
    assert copy.rotation == probe(source).rotation == 90
    assert copy.sphere == (WHOLE_SPHERE if is_held else None)


@pytest.mark.parametrize("name", ["out.ts", "out/%03d.png"])
def test_a_container_that_cannot_tell_is_told_of(tmp_path: Path, name: str) -> None:
    source = immersive(tmp_path / "a.mp4", FRONT, TOP_BOTTOM, num_audio=0)
    plan = planned(source, tmp_path / name)
    for what in ("360-degree mapping", "stereoscopic layout"):
        assert any(what in warning for warning in plan.warnings)
    run(Job(plan, LocalExecutor(upscale_nearest), 4))


@pytest.mark.parametrize(
    ("tag", "layout"),
    [("right_left", StereoLayout.SIDE_BY_SIDE), ("row_interleaved_rl", StereoLayout.LINES),
     ("checkerboard_lr", StereoLayout.CHECKERBOARD)],
)  # fmt: skip
def test_layouts_that_only_matroska_knows(tmp_path: Path, tag: str, layout: StereoLayout) -> None:
    def state(container: OutputContainer, video: VideoStream) -> Sequence[Stream]:
        video.metadata[STEREO_TAG] = tag
        return []

    source = write(
        tmp_path / "a.mkv", frames(scene(4)), time_base=Fraction(1, 1000), num_audio=0, prepare=state
    )
    expected = Stereo(layout, is_inverted=tag.endswith("rl") or tag == "right_left")
    assert probe(source).stereo == expected
    assert probe(enlarge(source, tmp_path / "out.mkv", "h264")).stereo == expected
    warnings = planned(source, tmp_path / "out.mp4").warnings
    assert any("stereoscopic layout" in warning for warning in warnings)


def test_stereo_of_the_bitstream_is_kept(tmp_path: Path) -> None:
    options = {"x264-params": "frame-packing=3"}
    source = write(tmp_path / "a.mp4", frames(scene(4)), num_audio=0, options=options)
    for suffix in (".mp4", ".mkv"):
        assert probe(enlarge(source, tmp_path / f"out{suffix}", "h264")).stereo == SIDE_BY_SIDE


def test_a_lost_mapping_is_noticed(tmp_path: Path) -> None:
    flat = write(tmp_path / "flat.mp4", frames(scene(4)), num_audio=0)
    copy = enlarge(flat, tmp_path / "out.mp4", "h264")
    source = immersive(tmp_path / "a.mp4", WHOLE_SPHERE, TOP_BOTTOM, num_audio=0)
    lost = {check.subject for check in verify(source, copy) if not check.is_kept}
    assert lost == {"360-degree mapping", "stereoscopic layout"}


def test_a_flat_video_stays_flat(tmp_path: Path) -> None:
    source = probe(write(tmp_path / "a.mp4", frames(scene(2)), num_audio=0))
    assert (source.sphere, source.stereo) == (None, None)
    assert to_boxes(None, None) == b""
