"""A preview shows both pictures side by side, sounds right, and tells the cost of the whole."""

from fractions import Fraction
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.helpers import nearest, upscale_nearest
from vidx4.diffusion.bicubic import enlarge_frames
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import OutputError, SourceError
from vidx4.jobs.crops import compare, write_crops
from vidx4.jobs.parts import Job
from vidx4.jobs.plan import plan_video
from vidx4.jobs.preview import plan_preview, run_preview
from vidx4.jobs.run import run
from vidx4.media.decode import read_batches
from vidx4.media.encoder import EncodeOptions
from vidx4.media.probe import probe
from vidx4.video import FrameBatch, TimeRange

LONDON = Path(__file__).parent.parent / "samples" / "london.mp4"


def test_left_is_bicubic_and_right_is_the_model(tmp_path: Path) -> None:
    span = TimeRange(Fraction(1, 2), Fraction(11, 20))
    encode = EncodeOptions(codec="ffv1")
    plan = plan_preview(LONDON, tmp_path / "split.mkv", span, encode=encode)
    upscaler = Upscaler.load("compact", device="cpu")
    preview = run_preview(plan, upscaler, batch_size=4)
    low_res = next(read_batches(plan.source, 1, span))
    shown = next(read_batches(probe(plan.output), 1)).data.int()
    for half, expected in (
        (slice(0, 630), enlarge_frames(low_res)),
        (slice(650, None), upscaler(low_res).batch),
    ):
        assert (shown[..., half] - expected.data[..., half].int()).abs().float().mean() < 1
    assert preview.report.num_frames == 3
    assert 0 < preview.seconds_for_whole <= preview.report.seconds / 3 * plan.source.num_frames
    with Image.open(preview.crops) as crops:
        assert crops.width > 2 * 256


def test_the_default_output_lies_beside_the_source(tmp_path: Path) -> None:
    clip = tmp_path / "film.mp4"
    clip.write_bytes(LONDON.read_bytes())
    plan = plan_preview(clip, None, TimeRange(stop=Fraction(1)))
    assert plan.output == tmp_path / "film_x4_preview.mp4"


def test_crops_show_the_part_with_detail(tmp_path: Path) -> None:
    data = torch.full((1, 3, 200, 300), 50, dtype=torch.uint8)
    data[..., 100:140, 200:240] = torch.randint(0, 255, (1, 3, 40, 40), dtype=torch.uint8)
    frame = FrameBatch(data, (0,))
    write_crops(tmp_path / "crops.png", frame, nearest(frame))
    with Image.open(tmp_path / "crops.png") as picture:
        colors = picture.convert("L").crop((8, 24, 264, 280)).getcolors(100_000)
    assert colors is not None
    assert len(colors) > 100


def test_compare_shows_the_same_frame_of_both(tmp_path: Path) -> None:
    plan = plan_video(LONDON, tmp_path / "big.mp4", encode=EncodeOptions(preset="ultrafast"))
    run(Job(plan, upscale_nearest, 8))
    crops = compare(LONDON, plan.output)
    assert crops == tmp_path / "big_crops.png"
    with Image.open(crops) as picture:
        left, right = (picture.convert("L").crop((x, 24, x + 256, 280)) for x in (8, 272))
    difference = sum(abs(a - b) for a, b in zip(left.tobytes(), right.tobytes(), strict=True)) / 256**2
    assert 0 < difference < 12


def test_compare_replaces_nothing_that_it_should_not(tmp_path: Path) -> None:
    copy = tmp_path / "big.mp4"
    copy.write_bytes(LONDON.read_bytes())
    with pytest.raises(OutputError, match="the source itself"):
        compare(LONDON, copy, copy, overwrite=True)
    (tmp_path / "big_crops.png").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        compare(LONDON, copy)
    with pytest.raises(OutputError, match="exists"):
        plan_preview(LONDON, copy.with_name("big.mkv"), TimeRange(stop=Fraction(1, 10)))
    assert copy.read_bytes() == LONDON.read_bytes()


def test_compare_refuses_what_does_not_belong_together(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="four times"):
        compare(LONDON, LONDON, tmp_path / "crops.png")
