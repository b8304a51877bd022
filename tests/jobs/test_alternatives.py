"""A job that takes long is told of what takes less, each with its time."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from tests.conftest import MakeVideo
from vidx4.cli.commands import app
from vidx4.diffusion.models.compact import GAIN_OF_FAST
from vidx4.diffusion.models.registry import family_of
from vidx4.diffusion.options import UpscaleOptions
from vidx4.diffusion.upscaler import Upscaler
from vidx4.jobs import alternatives as module
from vidx4.jobs.alternatives import LONG_SECONDS, Prospects
from vidx4.jobs.estimate import Alternative, Estimate
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalBackend, LocalExecutor
from vidx4.jobs.plan import Plan, plan_video

ESTIMATE = Estimate(
    num_left=100, seconds_per_frame=1000.0, basis="", output_size=0, disk_needed=0, disk_free=0, memory=0
)


@pytest.fixture
def plan(make_video: MakeVideo, tmp_path: Path) -> Plan:
    return plan_video(make_video(num_frames=4, num_audio=0), tmp_path / "out.mkv")


@pytest.fixture
def backend() -> LocalBackend:
    return LocalBackend(Upscaler.load("compact", device="cpu"))


def job_of(plan: Plan, backend: LocalBackend, **options: Any) -> Job:
    return replace(backend.job(plan), options=UpscaleOptions(**options))


def found(plan: Plan, backend: LocalBackend, **options: Any) -> dict[str, Alternative]:
    prospects = Prospects(job_of(plan, backend, **options), backend)
    estimate = replace(ESTIMATE, num_left=plan.num_frames, seconds_per_frame=1e5)
    return {each.options: each for each in prospects.alternatives(estimate)}


def share(plan: Plan, speed: str, of: str) -> float:
    size = plan.source.width, plan.source.height
    one, other = (
        family_of("sd-x4").operations_of_frame(UpscaleOptions(model="sd-x4", speed=each), *size)
        for each in (speed, of)
    )
    return one / other


def test_faster_speeds_take_their_share_of_the_operations(plan: Plan, backend: LocalBackend) -> None:
    options = found(plan, backend, model="sd-x4", speed="quality")
    assert list(options) == ["--speed balanced", "--speed fast"]
    for speed in ("balanced", "fast"):
        expected = share(plan, speed, "quality") * 1e5 * plan.num_frames
        assert options[f"--speed {speed}"].seconds == pytest.approx(expected)
    assert list(found(plan, backend, model="sd-x4", speed="balanced")) == ["--speed fast"]
    assert list(found(plan, backend, model="sd-x4", speed="fast")) == []


def test_an_option_that_the_user_gave_stays(plan: Plan, backend: LocalBackend) -> None:
    """A speed that then saves nothing is no alternative."""
    options = found(plan, backend, model="sd-x4", speed="quality", num_inference_steps=4, cache_interval=1)
    assert list(options) == []


def test_compact_on_a_cpu_has_a_faster_speed(plan: Plan, backend: LocalBackend) -> None:
    options = found(plan, backend, model="compact")
    assert list(options) == ["--speed fast"]
    assert options["--speed fast"].seconds == pytest.approx(1e5 * plan.num_frames / GAIN_OF_FAST)
    fast = backend.with_options(UpscaleOptions(device="cpu", speed="fast"))
    assert list(found(plan, fast, model="compact", speed="fast")) == []


def test_compact_is_measured_on_a_frame_of_the_video(
    plan: Plan, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAYBE_LONG", 0.0)
    options = found(plan, backend, model="sd-x4", speed="fast", device="cpu")
    assert list(options) == ["--model compact"]
    assert 0 < options["--model compact"].seconds < 1e5
    assert "measured on a frame of this video" in options["--model compact"].basis
    monkeypatch.setattr(module, "_seconds_of_a_frame", lambda backend, job: 2e5)
    assert list(found(plan, backend, model="sd-x4", speed="fast", device="cpu")) == []  # it would take longer


def test_compact_is_no_alternative_to_what_it_lacks(
    plan: Plan, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAYBE_LONG", 0.0)
    assert "--model compact" not in found(plan, backend, model="sd-x4", prompt="a cat", device="cpu")


def test_work_that_is_short_has_no_alternatives(plan: Plan, backend: LocalBackend) -> None:
    prospects = Prospects(job_of(plan, backend, model="sd-x4", speed="quality"), backend)
    short = replace(ESTIMATE, num_left=4, seconds_per_frame=LONG_SECONDS / 4)
    assert prospects.alternatives(short) == ()
    assert prospects.alternatives(replace(short, seconds_per_frame=1 + LONG_SECONDS / 4))
    assert prospects.alternatives(replace(ESTIMATE, num_left=0), 1e6) == ()


def test_frames_that_are_made_are_made_again_by_another_speed(plan: Plan, backend: LocalBackend) -> None:
    """So there is no alternative to the last frames."""
    prospects = Prospects(job_of(plan, backend, model="sd-x4", speed="quality"), backend)
    half = replace(ESTIMATE, num_left=2, seconds_per_frame=1e5)
    (fast,) = (each for each in prospects.alternatives(half) if each.options == "--speed fast")
    assert fast.seconds == pytest.approx(share(plan, "fast", "quality") * 4e5)
    assert not prospects.alternatives(replace(half, num_left=1, seconds_per_frame=1e5))


def test_all_files_of_a_batch_count(plan: Plan, backend: LocalBackend) -> None:
    prospects = Prospects(job_of(plan, backend, model="sd-x4", speed="quality"), backend)
    one = replace(ESTIMATE, num_left=4, seconds_per_frame=1.0)
    fast = prospects.alternatives(one, seconds_left=1e6)[-1]
    assert fast.seconds == pytest.approx(share(plan, "fast", "quality") * 1e6)


def test_idle_cards_of_this_machine_are_named(
    plan: Plan, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(plan, backend, model="sd-x4", speed="fast")
    on_gpu = replace(job, executor=LocalExecutor(lambda batch, state: None, "cuda:0"))  # type: ignore[arg-type, return-value]
    estimate = replace(ESTIMATE, num_left=2, seconds_per_frame=1e5)
    for num_cards, expected in ((1, []), (4, [("--cluster local", 5e4)])):
        monkeypatch.setattr(torch.cuda, "device_count", lambda num=num_cards: num)
        options = Prospects(on_gpu, backend).alternatives(estimate)
        assert [(each.options, each.seconds) for each in options] == expected
    assert Prospects(job, backend).alternatives(estimate) == ()


def test_a_dry_run_tells_people_and_programs(
    make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "LONG_SECONDS", 0.0)
    film = make_video(num_frames=24, num_audio=0)
    typed = ["upscale", str(film), str(tmp_path / "out.mp4"), "--device", "cpu", "--dry-run"]
    result = CliRunner().invoke(app, [*typed, "--report", str(tmp_path / "report.json")])
    assert "--speed fast: about" in result.stderr
    assert "as measured on another video" in result.stderr
    (told,) = json.loads((tmp_path / "report.json").read_text())["alternatives"]
    assert (told["options"], told["seconds"] > 0) == ("--speed fast", True)
    events = map(json.loads, CliRunner().invoke(app, [*typed, "--json"]).stdout.splitlines())
    (event,) = (each for each in events if each["event"] == "estimate")
    assert [each["options"] for each in event["alternatives"]] == ["--speed fast"]


def test_a_batch_tells_people_and_programs(
    make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "LONG_SECONDS", 0.0)
    (tmp_path / "in").mkdir()
    make_video(num_frames=24, num_audio=0).rename(tmp_path / "in" / "film.mp4")
    typed = ["batch", str(tmp_path / "in"), "--device", "cpu", "--settled-after", "0"]
    assert "--speed fast: about" in CliRunner().invoke(app, [*typed, str(tmp_path / "one")]).stderr
    result = CliRunner().invoke(app, [*typed, str(tmp_path / "two"), "--json"])
    (event,) = (each for each in map(json.loads, result.stdout.splitlines()) if each["event"] == "estimate")
    assert [each["options"] for each in event["alternatives"]] == ["--speed fast"]
