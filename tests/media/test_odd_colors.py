"""Videos whose colours are tagged or stored as few are: read, written and compared, or refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from av.video.frame import VideoFrame

from tests.color_videos import SIDE, Codes, gray_frame, picture, write_frames, write_h264, write_prores
from tests.helpers import nearest, read_all
from vidx4.errors import SourceError
from vidx4.jobs.plan import plan_video
from vidx4.jobs.request import Request
from vidx4.jobs.verify import verify
from vidx4.media.encode import encode_part
from vidx4.media.mux import join
from vidx4.media.options import Deinterlace, EncodeOptions, ReadOptions
from vidx4.media.probe import probe
from vidx4.media.source import read_source

FAST = EncodeOptions(encoder_preset="ultrafast")
REFUSED = {8, *range(10, 18)}
"""Codes of matrices that are not converted; decoders of H.264 leave out what is above."""
CODES = [*range(19), 22, 255]


def enlarge(path: Path, output: Path, encode: EncodeOptions = FAST) -> tuple[str, ...]:
    """Enlarge a video by repeating pixels, check that everything is kept, and return the plan's warnings."""
    plan = plan_video(path, output, Request(encode=encode))
    part = output.with_name("part")
    encode_part(part, [nearest(read_all(plan.source))], plan.source, plan.written.target)
    join([part], plan.written)
    assert [check for check in verify(path, output) if not check.is_kept] == []
    return plan.warnings


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_kept_or_assumed(code: int, tmp_path: Path) -> None:
    """Codes are those of primaries and transfer at once, since the two don't depend on one another."""
    enlarge(write_h264(tmp_path / "a.ts", (1, code, code)), tmp_path / "b.mp4")
    color = probe(tmp_path / "b.mp4").color
    assert color.primaries == (code if code in {1, *range(4, 13)} else 1)
    assert color.transfer == (code if code in {1, *range(4, 19)} else 1)


@pytest.mark.parametrize("code", [0, 3, 22, 255])
def test_codes_without_a_meaning_are_told(code: int, tmp_path: Path) -> None:
    path = write_prores(tmp_path / "a.mov", (5, code, code))
    (warning,) = enlarge(path, tmp_path / "b.mp4")
    assert all(f"{name} {code}" in warning for name in ("primaries", "transfer"))
    assert "primaries BT.601 (625 lines), transfer BT.601" in warning


@pytest.mark.parametrize("suffix", [".mov", ".mkv", ".ts"])
@pytest.mark.parametrize("codes", [(9, 10, 9), (7, 12, 17), (4, 8, 11)])
def test_every_container_keeps_rare_codes(codes: Codes, suffix: str, tmp_path: Path) -> None:
    enlarge(write_h264(tmp_path / "a.ts", codes), tmp_path / f"b{suffix}")
    color = probe(tmp_path / f"b{suffix}").color
    assert (color.matrix, color.primaries, color.transfer) == codes


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("hevc", ".mp4"), ("av1", ".mkv"), ("vp9", ".webm"), ("ffv1", ".mkv"), ("prores", ".mov")],
)
def test_every_codec_keeps_rare_codes(codec: str, suffix: str, tmp_path: Path) -> None:
    path = write_h264(tmp_path / "a.ts", (4, 12, 9))
    enlarge(path, tmp_path / f"b{suffix}", EncodeOptions(codec=codec))
    color = probe(tmp_path / f"b{suffix}").color
    assert (color.matrix, color.primaries, color.transfer) == (6 if codec == "vp9" else 4, 12, 9)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p"])
@pytest.mark.parametrize("code", CODES)
def test_every_matrix_is_used_or_refused(code: int, pix_fmt: str, tmp_path: Path) -> None:
    path = write_h264(tmp_path / "a.ts", (code, 5, 1), pix_fmt)
    assert probe(path).width == SIDE
    if code in REFUSED:
        with pytest.raises(SourceError, match=rf"a\.ts.*\b{code}\b"):
            read_source(path)
        return
    source = read_source(path)
    assert source.odd_colors == (("matrix 0",) if (code, pix_fmt) == (0, "yuv420p") else ())
    assert read_all(source).data.shape == (1, 3, SIDE, SIDE)


def test_a_wrong_tag_of_rgb_is_ignored(tmp_path: Path) -> None:
    wrong, right = write_h264(tmp_path / "a.ts", (0, 5, 1)), write_h264(tmp_path / "b.ts", (5, 5, 1))
    assert torch.equal(read_all(read_source(wrong)).data, read_all(read_source(right)).data)
    (warning,) = plan_video(wrong, tmp_path / "c.mp4").warnings
    assert "matrix 0" in warning
    assert "matrix BT.601 (625 lines)" in warning


def test_real_rgb_is_read_exactly(tmp_path: Path) -> None:
    frame = VideoFrame.from_ndarray(picture(), format="rgb24")
    path = write_frames(tmp_path / "a.mkv", "libx264rgb", [frame], {"qp": "0"}, color_trc=13)
    source = read_source(path)
    assert (source.pix_fmt, source.odd_colors, source.color.transfer) == ("gbrp", (), 13)
    assert np.array_equal(read_all(source).data[0].permute(1, 2, 0).numpy(), picture())


@pytest.mark.parametrize(("suffix", "codec"), [(".mov", "png"), (".avi", "rawvideo")])
def test_a_palette_gives_its_colours(suffix: str, codec: str, tmp_path: Path) -> None:
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16)
    palette = np.random.default_rng(0).integers(0, 256, (256, 4), dtype=np.uint8)
    palette[:, 0] = 255  # opaque
    pixels: Any = indices, palette
    frame = VideoFrame.from_ndarray(pixels, format="pal8")
    source = read_source(write_frames(tmp_path / f"a{suffix}", codec, [frame]))
    assert (source.pix_fmt, source.has_alpha, source.color.full_range) == ("pal8", False, False)
    assert np.array_equal(read_all(source).data[0].permute(1, 2, 0).numpy(), palette[indices][..., 1:])


@pytest.mark.parametrize("deinterlace", [Deinterlace.OFF, Deinterlace.FRAME])
@pytest.mark.parametrize(("bits", "color_range"), [(8, 1), (8, 2), (10, 1), (12, 2), (16, 1)])
def test_grey_video_keeps_its_range(
    bits: int, color_range: int, deinterlace: Deinterlace, tmp_path: Path
) -> None:
    value, dtype = 100 << bits - 8, np.uint8 if bits == 8 else np.uint16
    pix_fmt = "gray" if bits == 8 else f"gray{bits}le"
    frames = [gray_frame(np.full((32, 32), value, dtype), pix_fmt) for _ in range(3)]
    path = write_frames(tmp_path / "a.mkv", "ffv1", frames, color_range=color_range)
    source = read_source(path, ReadOptions(deinterlace=deinterlace))
    level = 84 / 219 if color_range == 1 else value / (2**bits - 1)
    pixels = read_all(source).data.double() / (255 if bits == 8 else 65535)
    assert (pixels - level).abs().max() <= (0.5 / 255 if bits == 8 else 0.5 / 65535)
    assert source.color.full_range == (color_range == 2)


def test_transparent_video_with_an_odd_matrix_is_described(tmp_path: Path) -> None:
    frame = VideoFrame(SIDE, SIDE, "yuva420p")
    for plane in frame.planes:
        plane.update(bytes([100]) * plane.buffer_size)
    path = write_frames(tmp_path / "a.mkv", "ffv1", [frame], colorspace=8)
    assert probe(path).has_alpha
    with pytest.raises(SourceError, match="YCgCo"):
        read_source(path)
