"""The noise level of a film is estimated once, before the work, and kept by all that continues the work."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import MakeVideo
from tests.helpers import as_frames
from tests.moving import pan
from vidx4.diffusion.options import ESTIMATE, AutoLevel, UpscaleOptions, describe_level, describe_others
from vidx4.diffusion.upscaler import Upscaler
from vidx4.jobs.local import LocalBackend
from vidx4.jobs.noise_level import estimate_film, with_estimate_of_picture
from vidx4.jobs.plan import Plan, plan_video


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return Upscaler.load("compact", device="cpu")


@pytest.fixture
def plan(make_video: MakeVideo, tmp_path: Path) -> Plan:
    video = make_video(frames=as_frames(pan(10, 2, 1)[..., :64, :96]), num_frames=10, width=96, height=64)
    return plan_video(video, tmp_path / "out.mkv")


def test_a_job_has_the_level_that_its_film_needs(upscaler: Upscaler, plan: Plan) -> None:
    estimate = estimate_film(plan.source)
    job = LocalBackend(upscaler).job(plan)
    assert (job.noise_level, job.estimated_noise_level) == (estimate, estimate)


def test_an_offset_is_added_to_the_estimate(upscaler: Upscaler, plan: Plan) -> None:
    estimate = estimate_film(plan.source)
    offset = 10 if estimate <= 100 else -10
    backend = LocalBackend(upscaler).with_options(UpscaleOptions(noise_level=AutoLevel(offset)))
    job = backend.job(plan)
    assert (job.noise_level, job.estimated_noise_level) == (estimate + offset, estimate)


def test_a_number_is_not_estimated(upscaler: Upscaler, plan: Plan) -> None:
    job = LocalBackend(upscaler).with_options(UpscaleOptions(noise_level=30)).job(plan)
    assert (job.noise_level, job.estimated_noise_level) == (30, None)


def test_a_level_that_is_not_yet_known_has_no_number(upscaler: Upscaler) -> None:
    identity = upscaler.with_options(UpscaleOptions(noise_level=AutoLevel(20))).identity
    assert (identity["noise-level"], identity[ESTIMATE]) == (None, "auto+20")


def test_what_is_known_is_not_estimated_again(upscaler: Upscaler, plan: Plan) -> None:
    assert LocalBackend(upscaler).job(plan, known={ESTIMATE: 65}).noise_level == 65


def test_a_job_that_resumes_keeps_its_estimate(upscaler: Upscaler, plan: Plan) -> None:
    plan.work_folder.mkdir()
    (plan.work_folder / "plan.json").write_text(json.dumps({"identity": {ESTIMATE: 45}}))
    assert LocalBackend(upscaler).job(plan).noise_level == 45


def test_a_picture_is_its_own_witness() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 1), np.uint8)
    options = with_estimate_of_picture(UpscaleOptions(), pixels)
    assert isinstance(options.noise_level, AutoLevel)
    assert options.noise_level.estimate is not None
    assert with_estimate_of_picture(UpscaleOptions(noise_level=5), pixels).noise_level == 5


@pytest.mark.parametrize(
    ("level", "estimate", "words"),
    [(None, None, ""), (30, None, "30"), (0, 0, "0, estimated"), (35, 15, "35, from an estimate of 15")],
)
def test_a_level_is_told_with_its_estimate(level: int | None, estimate: int | None, words: str) -> None:
    assert describe_level(level, estimate) == words


@pytest.mark.parametrize(
    ("level", "estimate", "words"),
    [
        (15, 15, "--noise-level auto+20 restores more, auto-20 less"),
        (0, 0, "--noise-level auto+20 restores more"),
        (35, 15, "--noise-level auto+40 restores more, auto less"),
    ],
)
def test_other_levels_are_near_the_one_that_is_used(level: int, estimate: int, words: str) -> None:
    assert describe_others(level, estimate) == words
