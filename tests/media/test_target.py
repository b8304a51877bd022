"""The enlarged stream: its size, shape, turn, and how it is stored."""

import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from av.codec import CodecContext
from av.video.frame import VideoFrame

from tests.conftest import MakeVideo
from tests.hard_videos import mirrored
from tests.helpers import upscale_nearest
from tests.video_builder import frames, scene, write
from vidx4.errors import ContainerError, OptionError
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalExecutor
from vidx4.jobs.plan import plan_video
from vidx4.jobs.request import Request
from vidx4.jobs.run import run
from vidx4.jobs.verify import verify
from vidx4.media.decode import read_frames
from vidx4.media.display.rotation import Turn
from vidx4.media.encoder import merged, resolve, try_out
from vidx4.media.formats.encoders import CODECS, ENCODERS
from vidx4.media.options import Codec, EncodeOptions
from vidx4.media.probe import probe
from vidx4.media.target import target_of
from vidx4.video import Source

FAST: dict[str, Any] = {"encoder_preset": "ultrafast", "crf": 30}
ONE, LAST = 1 << 16, 1 << 30
MATRICES = {
    "upright": (1, 0, 0, 1),
    "right": (0, 1, -1, 0),
    "upside down": (-1, 0, 0, -1),
    "left": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
    "flipped": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "anti-transposed": (0, -1, -1, 0),
}


def matrix(name: str) -> tuple[int, ...]:
    a, b, c, d = (ONE * value for value in MATRICES[name])
    return (a, b, 0, c, d, 0, 0, 0, LAST)


@pytest.mark.parametrize("name", MATRICES)
def test_a_turn_follows_the_matrix(name: str) -> None:
    """Each pixel goes where the matrix sends it, and the picture then begins at 0."""
    picture = np.arange(6).reshape(1, 2, 3)
    a, b, c, d = MATRICES[name]
    places = {(a * x + c * y, b * x + d * y): picture[0, y, x] for y in range(2) for x in range(3)}
    columns, rows = (sorted({place[axis] for place in places}) for axis in (0, 1))
    expected = [[places[x, y] for x in columns] for y in rows]
    assert Turn.of(matrix(name))(picture)[0].tolist() == expected


@pytest.mark.parametrize(
    "odd",
    [(46341, 46341, -46341, 46341), (56756, 32768, -32768, 56756), (ONE, 0, 0, 3 * ONE // 2)],
    ids=["45 degrees", "30 degrees", "scaled"],
)
def test_an_odd_angle_has_no_turn(odd: tuple[int, ...], make_video: MakeVideo) -> None:
    a, b, c, d = odd
    source = replace(probe(make_video()), display_matrix=(a, b, 0, c, d, 0, 0, 0, LAST))
    for suffix in (".ts", ".mkv"):
        with pytest.raises(OptionError, match=r"\.mp4"):
            target_of(source, suffix, EncodeOptions())
    assert target_of(source, ".mp4", EncodeOptions()).display_matrix == source.display_matrix


@pytest.mark.parametrize("name", ["right", "upside down", "mirrored"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_a_turned_picture_is_moved_back(
    name: str, suffix: str, make_video: MakeVideo, tmp_path: Path
) -> None:
    """Phones write matrices that move the picture back to 0, by its size (QuickTime File Format, tkhd)."""
    path = make_video(num_audio=0, num_frames=3)
    a, b, c, d = MATRICES[name]
    back = [max(0, -(a * 64 + c * 48)), max(0, -(b * 64 + d * 48))]
    moved = (*matrix(name)[:6], ONE * back[0], ONE * back[1], LAST)
    data = bytearray(path.read_bytes())
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, *moved)
    path.write_bytes(data)
    source = probe(path)
    assert source.display_matrix == moved
    codec = "vp9" if suffix == ".webm" else "h264"
    plan = plan_video(path, tmp_path / f"out{suffix}", Request(encode=EncodeOptions(codec)))
    run(Job(plan, LocalExecutor(upscale_nearest), 8))
    copy = probe(plan.output)
    assert copy.display_matrix is not None
    assert copy.display_matrix[:6] == moved[:6]
    times = 4 if suffix in (".mp4", ".mov") else 0  # Matroska tells angles only
    assert copy.display_matrix[6:8] == tuple(times * ONE * pixels for pixels in back)


def test_frames_are_rotated_if_the_container_can_not_say_so(tmp_path: Path) -> None:
    path = mirrored(tmp_path)
    plan = plan_video(path, tmp_path / "out.ts", Request(encode=EncodeOptions(**FAST)))
    run(Job(plan, LocalExecutor(upscale_nearest), 8))
    source, output = probe(path), probe(plan.output)
    assert (output.width, output.height) == (4 * source.height, 4 * source.width)
    assert output.sample_aspect_ratio == 1 / source.sample_aspect_ratio
    assert output.display_matrix is None
    small, large = (next(read_frames(each)).data.numpy() for each in (source, output))
    turned = Turn.of(source.display_matrix)(small)
    assert np.abs(large[:, ::4, ::4].astype(int) - turned).mean() < 4


@pytest.mark.parametrize(
    ("width", "height", "size", "ratio"),
    [
        (None, None, (256, 192), Fraction(16, 15)),
        (None, 96, (128, 96), Fraction(16, 15)),
        (200, None, (200, 150), Fraction(16, 15)),
        (None, 1080, (1440, 1080), Fraction(16, 15)),
        (256, 180, (256, 180), Fraction(1)),
    ],
)
def test_a_final_size(
    make_video: MakeVideo, width: int | None, height: int | None, size: tuple[int, int], ratio: Fraction
) -> None:
    """What is seen keeps its shape, whatever the stored size."""
    source = probe(make_video(sample_aspect_ratio=Fraction(16, 15), num_frames=2))
    target = target_of(source, ".mp4", EncodeOptions(width=width, height=height))
    assert (target.width, target.height) == size
    assert target.sample_aspect_ratio == ratio


def test_a_final_size_on_file(make_video: MakeVideo, tmp_path: Path) -> None:
    encode = EncodeOptions(**FAST, height=120)
    plan = plan_video(make_video(), tmp_path / "out.mp4", Request(encode=encode))
    run(Job(plan, LocalExecutor(upscale_nearest), 8))
    assert (probe(plan.output).width, probe(plan.output).height) == (160, 120)
    assert all(
        check.is_kept
        for check in verify(plan.source.path, plan.output, request=Request(encode=EncodeOptions(height=120)))
    )
    assert not all(check.is_kept for check in verify(plan.source.path, plan.output))


@pytest.mark.parametrize("size", [{"width": 101}, {"height": 99}, {"width": 100, "height": 51}])
def test_odd_lengths(make_video: MakeVideo, size: dict[str, Any]) -> None:
    source = probe(make_video(num_frames=1))
    with pytest.raises(OptionError, match=r"\d+x\d+.*yuv420p"):
        target_of(source, ".mp4", EncodeOptions(**size))


def test_shapes_that_matroska_can_not_store(make_video: MakeVideo) -> None:
    source = replace(probe(make_video(num_frames=1)), sample_aspect_ratio=Fraction(1001, 1000))
    target_of(source, ".mp4", EncodeOptions("av1"))
    target_of(source, ".mkv", EncodeOptions("hevc"))
    target_of(source, ".mkv", EncodeOptions("av1", width=2002, height=1500))
    with pytest.raises(ContainerError, match=r"1001/1000.*\.mkv.*av1"):
        target_of(source, ".mkv", EncodeOptions("av1"))


def deep(tmp_path: Path) -> Source:
    return probe(write(tmp_path / "deep.mkv", frames(scene(2), "yuv422p10le"), codec="ffv1", num_audio=0))


@pytest.mark.parametrize(
    ("codec", "options", "pix_fmt"),
    [
        ("auto", {}, "yuv420p10le"),
        ("hevc", {"bit_depth": 8}, "yuv420p"),
        ("hevc", {"bit_depth": 12}, "yuv420p12le"),
        ("hevc", {"pixel_format": "yuv444p10le"}, "yuv444p10le"),
        ("h264", {}, "yuv420p10le"),
        ("vp9", {}, "yuv420p"),
        ("ffv1", {}, "yuv444p10le"),
        ("ffv1", {"bit_depth": 16}, "yuv444p16le"),
        ("ffv1", {"pixel_format": "gbrp16le"}, "gbrp16le"),
    ],
)
def test_depth_follows_the_source(tmp_path: Path, codec: str, options: dict[str, Any], pix_fmt: str) -> None:
    target = target_of(deep(tmp_path), ".mkv", EncodeOptions(codec, **options))
    assert target.encoder.pix_fmt == pix_fmt


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"codec": "vp9", "bit_depth": 10}, "vp9.* 8 bits.* 10"),
        ({"codec": "av1", "pixel_format": "yuv444p"}, "yuv444p"),
        ({"pixel_format": "yuv420p", "bit_depth": 10}, "yuv420p .*8 bits.* 10"),
        ({"quality": 101}, "0 to 100"),
        ({"quality": 50, "crf": 20}, "--quality.*--crf"),
        ({"codec": "prores", "crf": 20}, "prores.*--crf.*--quality"),
        ({"codec": "ffv1", "quality": 50}, "ffv1.*--quality"),
        ({"encoder_options": ("tune",)}, "key=value"),
        ({"encoder_options": ("warp=9",)}, "libx264.*'warp'"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        resolve(EncodeOptions(**options), 640, 480, 8)


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec not in ("ffv1", "prores")])
def test_quality_is_one_scale(codec: str) -> None:
    """Better quality is a lower crf; the default is that of 80."""
    if not codec.endswith("nvenc"):
        try_out(resolve(EncodeOptions(codec, quality=100), 640, 480, 8), 640, 480)
    settings = [resolve(EncodeOptions(codec, quality=q), 640, 480, 8).options for q in (0, 50, 80, 100)]
    rates = [int(each.get("crf") or each["cq"]) for each in settings]
    assert rates == sorted(rates, reverse=True)
    assert settings[2] == resolve(EncodeOptions(codec), 640, 480, 8).options


def test_an_encoder_that_does_not_start() -> None:
    settings = resolve(EncodeOptions(encoder_options=("tune=warp",)), 640, 480, 8)
    with pytest.raises(OptionError, match="libx264"):
        try_out(settings, 640, 480)


def test_parameters_are_added_to_ours() -> None:
    settings = resolve(EncodeOptions("hevc", encoder_options=("x265-params=no-sao=1",)), 640, 480, 8)
    assert settings.options["x265-params"].endswith(":no-sao=1")
    assert settings.options["x265-params"].startswith("log-level")
    assert merged({}, {"x265-params": "a=1"}) == {"x265-params": "a=1"}


@pytest.mark.parametrize(
    ("codec", "size"),
    [("hevc", (7680, 4800)), ("av1", (9000, 1000)), ("h264", (17000, 100)), ("prores", (16400, 100))],
)
def test_pictures_that_are_too_large(codec: str, size: tuple[int, int]) -> None:
    with pytest.raises(OptionError, match=f"{size[0]}x{size[1]}.*{codec}"):
        resolve(EncodeOptions(codec), *size, 8)


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("prores", ".mp4"), ("ffv1", ".mov"), ("h264", ".webm"), ("av1", ".ts"), ("hevc", "/%06d.png")],
)
def test_codecs_that_a_container_does_not_take(
    make_video: MakeVideo, tmp_path: Path, codec: str, suffix: str
) -> None:
    with pytest.raises(ContainerError, match=codec):
        plan_video(
            make_video(num_frames=2), Path(f"{tmp_path}/out{suffix}"), Request(encode=EncodeOptions(codec))
        )


def test_every_codec_is_written_and_verified(make_video: MakeVideo, tmp_path: Path) -> None:
    path = make_video(num_frames=6, num_audio=0)
    presets = {"h264": "ultrafast", "hevc": "ultrafast", "av1": "10", "vp9": "8"}
    for codec, suffixes in {
        "h264": (".mp4", ".ts"),
        "hevc": (".mov", ".mkv"),
        "av1": (".webm", ".mp4"),
        "vp9": (".webm", ".mp4"),
        "ffv1": (".mkv",),
        "prores": (".mov", ".mkv"),
    }.items():
        for suffix in suffixes:
            encode = EncodeOptions(codec, encoder_preset=presets.get(codec))
            plan = plan_video(path, tmp_path / f"{codec}{suffix}", Request(encode=encode))
            run(Job(plan, LocalExecutor(upscale_nearest), 8))
            assert probe(plan.output).num_frames == 6


def test_hevc_is_tagged_for_apple_and_mp4_starts_fast(make_video: MakeVideo, tmp_path: Path) -> None:
    plan = plan_video(
        make_video(), tmp_path / "out.mp4", Request(encode=EncodeOptions("hevc", encoder_preset="ultrafast"))
    )
    run(Job(plan, LocalExecutor(upscale_nearest), 8))
    data = plan.output.read_bytes()
    assert b"hvc1" in data
    assert data.index(b"moov") < data.index(b"mdat")


def test_full_range_prores_becomes_limited(tmp_path: Path) -> None:
    full = write(tmp_path / "full.mp4", frames(scene(2), "yuvj420p"), num_audio=0, color_range=2)
    target = target_of(probe(full), ".mov", EncodeOptions("prores"))
    assert not target.color.full_range
    assert target_of(probe(full), ".mov", EncodeOptions("h264")).color.full_range
    assert VideoFrame(2, 2, target.encoder.pix_fmt).format.name == "yuv422p10le"


def test_every_codec_has_an_encoder() -> None:
    assert {Codec.AUTO, *CODECS} == set(Codec)


@pytest.mark.parametrize("codec", [codec for codec in CODECS if codec.endswith("nvenc")])
def test_encoders_of_a_gpu_know_their_options(codec: str) -> None:
    """Without a GPU they don't start, but the names and limits of their options are known."""
    settings = resolve(EncodeOptions(codec, quality=100), 640, 480, 8)
    options = {each.name: each for each in CodecContext.create(codec, "w").supported_options.private}
    private = settings.options.keys() - {"b"}
    assert private <= options.keys()
    most = ENCODERS[codec].max_crf
    assert options["cq"].max == most
    with pytest.raises(OptionError, match=f"1 to {most}"):  # 0 leaves the quality to the encoder
        resolve(EncodeOptions(codec, crf=0), 640, 480, 8)
    assert settings.options["preset"] in {each.name for each in options["preset"].choices}
