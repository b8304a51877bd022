"""An interrupted job resumes, and its output equals that of a job that was never interrupted."""

import json
import multiprocessing
import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from scripts.stress.kills import disturb, make_clip
from tests.helpers import check_same, load_with_hidden_state, stop_after, upscale_nearest
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import OptionError, OutputError, StoppedError
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalBackend, LocalExecutor
from vidx4.jobs.part_record import Part
from vidx4.jobs.plan import Plan, plan_video
from vidx4.jobs.progress import Control, Progress
from vidx4.jobs.report import Report
from vidx4.jobs.request import Request
from vidx4.jobs.run import run, start
from vidx4.jobs.stop import Stop
from vidx4.jobs.work_folder import PLAN
from vidx4.media.options import EncodeOptions
from vidx4.video import TimeRange

FAST = EncodeOptions(encoder_preset="ultrafast", crf=30)
Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a video of three shots, 90, 9 and 30 frames, with a variable rate and sound."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    make_clip(path)
    return path


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return load_with_hidden_state()


@pytest.fixture(scope="module")
def uninterrupted(clip: Path, upscaler: Upscaler, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    plan = plan_video(clip, tmp_path_factory.mktemp("uninterrupted") / "out.mp4", Request(encode=FAST))
    run(LocalBackend(upscaler).job(plan, 4))
    return plan.output.read_bytes()


@pytest.fixture
def plan(clip: Path, tmp_path: Path) -> Plan:
    return plan_video(clip, tmp_path / "out.mp4", Request(encode=FAST))


def resume(job: Job) -> tuple[Report, list[Part]]:
    parts: list[Part] = []
    return run(job, Control(on_part=parts.append)), parts


@pytest.mark.slow
def test_a_job_killed_at_random_moments_gives_the_same_file(clip: Path, tmp_path: Path) -> None:
    outcome = disturb(clip, tmp_path, num_kills=25, seed=4)
    assert outcome.kills.total() == 25
    assert len(outcome.kills) == 4  # every kind occurred
    assert outcome.num_equal == outcome.num_finished > 0


def test_parts_end_at_cuts_and_only_missing_parts_are_made(
    plan: Plan, upscaler: Upscaler, uninterrupted: bytes
) -> None:
    job = LocalBackend(upscaler).job(plan, 4)
    made = stop_after(job, 3)
    report, rest = resume(job)
    borders = [(part.start, part.stop, part.ends_shot) for part in (*made, *rest)]
    assert borders == [(0, 8, False), (8, 72, False), (72, 90, True), (90, 99, True), (99, 129, True)]
    assert (report.num_frames, report.num_new) == (129, 39)
    check_same(plan.output, uninterrupted)
    assert not plan.work_folder.exists()


@pytest.mark.parametrize("num_parts", [1, 2, 3, 4])
def test_a_job_resumes_after_any_part(
    num_parts: int, plan: Plan, upscaler: Upscaler, uninterrupted: bytes
) -> None:
    job = LocalBackend(upscaler).job(plan, 4)
    assert len(stop_after(job, num_parts)) == num_parts
    resume(job)
    check_same(plan.output, uninterrupted)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [empty, cut_in_half, flip_a_bit, Path.unlink])
@pytest.mark.parametrize(
    ("name", "made_again"),
    [
        ("00000000.nut", [(0, 8)]),
        ("00000008.json", [(8, 72)]),
    ],
)
def test_damaged_parts_are_made_again(
    name: str,
    made_again: list[tuple[int, int]],
    damage: Damage,
    plan: Plan,
    upscaler: Upscaler,
    uninterrupted: bytes,
) -> None:
    job = LocalBackend(upscaler).job(plan, 4)
    stop_after(job, 2)
    damage(plan.work_folder / name)
    _, parts = resume(job)
    made = [(part.start, part.stop) for part in parts]
    assert made[: len(made_again)] == made_again
    check_same(plan.output, uninterrupted)


@pytest.mark.parametrize("damage", [cut_in_half, Path.unlink])
def test_without_its_state_an_earlier_part_of_the_shot_is_made_again(
    damage: Damage, plan: Plan, upscaler: Upscaler, uninterrupted: bytes
) -> None:
    job = LocalBackend(upscaler).job(plan, 4)
    stop_after(job, 2)
    damage(plan.work_folder / "00000072.state")
    _, parts = resume(job)
    assert [part.start for part in parts] == [8, 72, 90, 99]
    check_same(plan.output, uninterrupted)


@pytest.mark.parametrize("damage", [empty, cut_in_half, Path.unlink])
def test_a_damaged_plan_is_written_again(
    damage: Damage, plan: Plan, upscaler: Upscaler, uninterrupted: bytes
) -> None:
    job = LocalBackend(upscaler).job(plan, 4)
    stop_after(job, 2)
    damage(plan.work_folder / PLAN)
    report, _ = resume(job)
    assert report.num_new == 57
    check_same(plan.output, uninterrupted)


def test_without_a_plan_parts_of_another_job_are_refused(plan: Plan, upscaler: Upscaler) -> None:
    stop_after(LocalBackend(upscaler).job(plan, 4), 1)
    (plan.work_folder / PLAN).unlink()
    with pytest.raises(OptionError, match=f"{PLAN}.*--restart"):
        run(LocalBackend(upscaler).job(plan, 2))


def test_other_files_in_the_work_folder_are_kept(
    plan: Plan, upscaler: Upscaler, uninterrupted: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    job = LocalBackend(upscaler).job(plan, 4)
    stop_after(job, 1)
    (plan.work_folder / "notes.txt").write_text("mine")
    (plan.work_folder / "00000500.json").write_text("mine")
    (plan.work_folder / "00000400.nut").mkdir()
    resume(job)
    check_same(plan.output, uninterrupted)
    assert sorted(path.name for path in plan.work_folder.iterdir()) == ["00000400.nut", "lock", "notes.txt"]
    assert str(plan.work_folder) in caplog.text


def changed(plan: Plan, what: str, tmp_path: Path) -> Plan:
    match what:
        case "crf":
            return plan_video(
                plan.source.path,
                plan.output,
                Request(encode=EncodeOptions(encoder_preset="ultrafast", crf=31)),
            )
        case "stop":
            span = TimeRange(stop=Fraction(1))
            return plan_video(plan.source.path, plan.output, Request(encode=FAST, span=span))
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(plan.source.path.read_bytes() + b"\0")
    return plan_video(copy, plan.output, Request(encode=FAST))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("crf", "crf .*30.*31"),
        ("stop", r"stop .*1\.0"),
        ("source", "source"),
    ],
)
def test_another_job_is_refused_with_the_differences(
    what: str, message: str, plan: Plan, upscaler: Upscaler, tmp_path: Path
) -> None:
    stop_after(LocalBackend(upscaler).job(plan, 4), 1)
    other = changed(plan, what, tmp_path)
    before = sorted(path.read_bytes() for path in plan.work_folder.iterdir())
    with pytest.raises(OptionError, match=message):
        run(LocalBackend(upscaler).job(other, 4))
    assert sorted(path.read_bytes() for path in plan.work_folder.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_inference_steps": 2}, "steps .*1.*2"),
        ({"seed": 7}, "seed .*0.*7"),
        ({"dtype": "bfloat16"}, "dtype .*float32.*bfloat16"),
        ({"tile_size": 32}, "tile-size .*32"),
    ],
)
def test_other_model_options_are_refused(options: dict[str, object], message: str, plan: Plan) -> None:
    stop_after(LocalBackend(Upscaler.load("compact", device="cpu", dtype="float32")).job(plan, 4), 1)
    other = {"device": "cpu", "dtype": "float32"} | options
    with pytest.raises(OptionError, match=message):
        run(LocalBackend(Upscaler.load("compact", **other)).job(plan, 4))


def test_another_version_or_other_weights_are_refused(plan: Plan, upscaler: Upscaler) -> None:
    job = LocalBackend(upscaler).job(plan, 4)
    stop_after(job, 1)
    with pytest.raises(OptionError, match=r"vidx4 .*9, .*weights"):
        run(replace(job, identity={**job.identity, "vidx4": "9", "weights": "others"}))


def test_restart_starts_from_scratch(plan: Plan, upscaler: Upscaler) -> None:
    stop_after(LocalBackend(upscaler).job(plan, 4), 2)
    report = run(LocalBackend(upscaler).job(plan, 2), restart=True)
    assert report.num_new == 129


@pytest.mark.slow
def test_an_estimate_is_resumed_or_discarded_for_another_job(
    plan: Plan, upscaler: Upscaler, uninterrupted: bytes
) -> None:
    job = LocalBackend(upscaler).job(plan, 4)
    with start(job, is_trial=True) as trial:
        assert trial.estimate().num_left == 121
    assert resume(job)[0].num_new == 121
    check_same(plan.output, uninterrupted)
    plan.output.unlink()
    with start(LocalBackend(upscaler).job(plan, 2), is_trial=True) as trial:
        trial.estimate()
    assert resume(job)[0].num_new == 129


def test_an_estimate_does_not_make_a_job_discardable(plan: Plan, upscaler: Upscaler) -> None:
    job = LocalBackend(upscaler).job(plan, 4)
    stop_after(job, 2)
    with start(job, is_trial=True) as trial:
        assert "72 frames" in trial.estimate().basis
    with pytest.raises(OptionError, match=r"batch-size .*4.*2"), start(LocalBackend(upscaler).job(plan, 2)):
        pass


def test_an_output_written_just_before_a_crash_is_recognised(
    plan: Plan, upscaler: Upscaler, uninterrupted: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = LocalBackend(upscaler).job(plan, 4)
    monkeypatch.setattr("vidx4.jobs.run.Run._report", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(job)
    monkeypatch.undo()
    check_same(plan.output, uninterrupted)
    assert resume(job)[0].num_new == 0
    assert not plan.work_folder.exists()


def test_an_unrelated_output_is_not_replaced(plan: Plan, upscaler: Upscaler) -> None:
    job = LocalBackend(upscaler).job(plan, 4)
    stop_after(job, 4)
    plan.output.write_text("mine")
    with pytest.raises(OutputError, match=re.escape(str(plan.output))):
        run(job)
    assert plan.output.read_text() == "mine"
    assert (
        run(
            LocalBackend(upscaler).job(replace(plan, request=replace(plan.request, overwrite=True)), 4)
        ).num_new
        == 30
    )


def test_a_second_process_is_refused(plan: Plan) -> None:
    job = Job(plan, LocalExecutor(upscale_nearest), 4)
    with start(job):
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:
            message = pool.apply(_message_of, (plan.source.path, plan.output))
    assert str(plan.work_folder) in message
    run(job)  # the lock is gone with the first


def _message_of(source: Path, output: Path) -> str:
    try:
        run(Job(plan_video(source, output, Request(encode=FAST)), LocalExecutor(upscale_nearest), 4))
    except OutputError as error:
        return str(error)
    return ""


def test_an_error_says_what_is_kept(plan: Plan, upscaler: Upscaler) -> None:
    stop = Stop()
    control = Control(on_part=lambda part: stop.set() if part.stop == 90 else None, stop=stop)
    with pytest.raises(StoppedError) as caught:
        run(LocalBackend(upscaler).job(plan, 4), control)
    (note,) = caught.value.__notes__
    assert note.startswith("90 of 129 ")
    assert str(plan.work_folder) in note


def test_the_disk_holds_two_states_at_most(plan: Plan, upscaler: Upscaler, uninterrupted: bytes) -> None:
    """Frames are not kept, and states only where work may resume."""
    sizes: list[int] = []

    def measure(_: object) -> None:
        files = [path for path in plan.work_folder.iterdir() if path.suffix == ".state"]
        sizes.append(len(files))

    run(LocalBackend(upscaler).job(plan, 4), Control(on_part=measure))
    assert max(sizes) <= 2


def test_progress_counts_earlier_runs(plan: Plan, upscaler: Upscaler) -> None:
    job = LocalBackend(upscaler).job(plan, 4)
    stop_after(job, 2)
    seen: list[Progress] = []
    run(job, Control(seen.append))
    assert [seen[0].num_done, seen[-1].num_done] == [76, 129]
    assert seen[-1].seconds_left == 0


def test_a_range_resumes_too(clip: Path, tmp_path: Path, upscaler: Upscaler) -> None:
    span = TimeRange(Fraction(1), Fraction(6))
    plans = [
        plan_video(clip, tmp_path / name, Request(span=span, encode=FAST)) for name in ("a.mp4", "b.mp4")
    ]
    run(LocalBackend(upscaler).job(plans[0], 4))
    stop_after(LocalBackend(upscaler).job(plans[1], 4), 1)
    run(LocalBackend(upscaler).job(plans[1], 4))
    check_same(plans[0].output, plans[1].output.read_bytes())


def test_the_plan_file_holds_the_identity(plan: Plan, upscaler: Upscaler) -> None:
    stop_after(LocalBackend(upscaler).job(plan, 4), 1)
    identity = json.loads((plan.work_folder / PLAN).read_text())["identity"]
    assert identity["batch-size"] == 4
    assert {"source", "weights", "vidx4", "torch", "av", "steps", "crf", "codec", "device"} <= set(identity)
