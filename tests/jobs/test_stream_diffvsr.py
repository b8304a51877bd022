"""A job of Stream-DiffVSR gives the same file however it is interrupted or divided."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.helpers import check_same, stop_after
from tests.video_builder import panning_shots, write
from vidx4.diffusion.upscaler import Upscaler
from vidx4.files.read import file_digest
from vidx4.jobs.local import LocalBackend
from vidx4.jobs.plan import Plan, plan_video
from vidx4.jobs.request import Request
from vidx4.jobs.run import run
from vidx4.media.options import EncodeOptions

FAST = EncodeOptions(encoder_preset="ultrafast", crf=30)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a video of two shots, 7 and 5 frames."""
    path = tmp_path_factory.mktemp("clip") / "clip.mkv"
    write(path, panning_shots([7, 5]), num_audio=0)
    return path


@pytest.fixture(scope="module")
def upscaler(stream_folder: Path) -> Upscaler:
    return Upscaler.load(str(stream_folder), device="cpu", dtype="float32", num_inference_steps=1)


@pytest.fixture(scope="module")
def uninterrupted(clip: Path, upscaler: Upscaler, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    plan = plan_video(clip, tmp_path_factory.mktemp("uninterrupted") / "out.mkv", Request(encode=FAST))
    report = run(LocalBackend(upscaler).job(plan))
    assert report.num_shots == 2
    return plan.output.read_bytes()


@pytest.fixture
def plan(clip: Path, tmp_path: Path) -> Plan:
    return plan_video(clip, tmp_path / "out.mkv", Request(encode=FAST))


def test_a_job_resumes_within_a_shot(plan: Plan, upscaler: Upscaler, uninterrupted: bytes) -> None:
    job = LocalBackend(upscaler).job(plan)
    (part,) = stop_after(job, 1)
    assert not part.ends_shot
    run(job)
    check_same(plan.output, uninterrupted)


def without_raw(tensors: dict[str, Tensor]) -> None:
    del tensors["raw"]


def in_half(tensors: dict[str, Tensor]) -> None:
    tensors["raw"] = tensors["raw"].half()


def not_finite(tensors: dict[str, Tensor]) -> None:
    tensors["raw"][0, 0, 0] = math.nan


@pytest.mark.parametrize("forge", [without_raw, in_half, not_finite, None])
def test_a_state_that_it_can_not_have_written_is_dropped(
    forge: Callable[[dict[str, Tensor]], None] | None,
    plan: Plan,
    upscaler: Upscaler,
    uninterrupted: bytes,
) -> None:
    """Its digest in the record fits: it comes with the folder. The same goes for a record without any."""
    job = LocalBackend(upscaler).job(plan)
    (part,) = stop_after(job, 1)
    state, record = (plan.work_folder / f"{name:08}" for name in (part.stop, part.start))
    state, record = state.with_suffix(".state"), record.with_suffix(".json")
    facts = json.loads(record.read_bytes())
    assert facts["state"] == file_digest(state)
    if forge is not None:
        tensors = load_file(state)
        forge(tensors)
        save_file(tensors, state)
    record.write_text(json.dumps(facts | {"state": None if forge is None else file_digest(state)}))
    run(job)
    check_same(plan.output, uninterrupted)


def test_it_knows_no_noise_level_to_estimate(plan: Plan, upscaler: Upscaler) -> None:
    job = LocalBackend(upscaler).job(plan)
    assert job.noise_level is job.estimated_noise_level is None
    assert job.identity["recall"] == "reference"
    assert (job.batch_size, job.identity["noise-level"]) == (1, None)
