"""A job that ends in any way goes on, and its output is that of one that was never disturbed."""

import json
import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from threading import Event

import pytest

from scripts.stress.kills import disturb, make_clip
from tests.helpers import stop_after, upscale_nearest
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import OptionError, OutputError, StoppedError
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalBackend, LocalExecutor
from vidx4.jobs.plan import Plan, plan_video
from vidx4.jobs.progress import Control, Progress
from vidx4.jobs.report import Report
from vidx4.jobs.request import Request
from vidx4.jobs.run import run, start
from vidx4.jobs.work_folder import PLAN, Part
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
    return Upscaler.load("compact", device="cpu")


@pytest.fixture(scope="module")
def undisturbed(clip: Path, upscaler: Upscaler, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    plan = plan_video(clip, tmp_path_factory.mktemp("undisturbed") / "out.mp4", Request(encode=FAST))
    run(LocalBackend(upscaler).job(plan, 4))
    return plan.output.read_bytes()


@pytest.fixture
def plan(clip: Path, tmp_path: Path) -> Plan:
    return plan_video(clip, tmp_path / "out.mp4", Request(encode=FAST))


def go_on(job: Job) -> tuple[Report, list[Part]]:
    parts: list[Part] = []
    return run(job, Control(on_part=parts.append)), parts


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_very_same_file(clip: Path, tmp_path: Path) -> None:
    outcome = disturb(clip, tmp_path, num_kills=25, seed=4)
    assert outcome.kills.total() == 25
    assert len(outcome.kills) == 4  # of each kind some
    assert outcome.num_equal == outcome.num_finished > 0


def test_parts_lie_inside_shots_and_only_what_is_missing_is_made(
    plan: Plan, upscaler: Upscaler, undisturbed: bytes
) -> None:
    job = LocalBackend(upscaler).job(plan, 4)
    made = stop_after(job, 3)
    report, rest = go_on(job)
    borders = [(part.start, part.stop, part.ends_shot) for part in (*made, *rest)]
    assert borders == [(0, 8, False), (8, 72, False), (72, 90, True), (90, 99, True), (99, 129, True)]
    assert (report.num_frames, report.num_new) == (129, 39)
    assert plan.output.read_bytes() == undisturbed
    assert not plan.work_folder.exists()


@pytest.mark.parametrize("num_parts", [1, 2, 3, 4])
def test_work_goes_on_at_any_border(
    num_parts: int, plan: Plan, upscaler: Upscaler, undisturbed: bytes
) -> None:
    job = LocalBackend(upscaler).job(plan, 4)
    assert len(stop_after(job, num_parts)) == num_parts
    go_on(job)
    assert plan.output.read_bytes() == undisturbed


def cut_to_nothing(path: Path) -> None:
    path.write_bytes(b"")


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut_to_nothing, cut_in_half, flip_a_bit, Path.unlink])
@pytest.mark.parametrize(
    ("name", "made_again"),
    [
        ("00000000.nut", [(0, 8)]),
        ("00000008.json", [(8, 72)]),
    ],
)
def test_what_a_power_cut_leaves_is_made_again(
    name: str,
    made_again: list[tuple[int, int]],
    damage: Damage,
    plan: Plan,
    upscaler: Upscaler,
    undisturbed: bytes,
) -> None:
    job = LocalBackend(upscaler).job(plan, 4)
    stop_after(job, 2)
    damage(plan.work_folder / name)
    _, parts = go_on(job)
    made = [(part.start, part.stop) for part in parts]
    assert made[: len(made_again)] == made_again
    assert plan.output.read_bytes() == undisturbed


@pytest.mark.parametrize("damage", [cut_in_half, Path.unlink])
def test_without_its_state_a_shot_is_gone_back_in(
    damage: Damage, plan: Plan, upscaler: Upscaler, undisturbed: bytes
) -> None:
    job = LocalBackend(upscaler).job(plan, 4)
    stop_after(job, 2)
    damage(plan.work_folder / "00000072.state")
    _, parts = go_on(job)
    assert [part.start for part in parts] == [8, 72, 90, 99]
    assert plan.output.read_bytes() == undisturbed


@pytest.mark.parametrize("damage", [cut_to_nothing, cut_in_half, Path.unlink])
def test_a_plan_that_is_damaged_is_written_again(
    damage: Damage, plan: Plan, upscaler: Upscaler, undisturbed: bytes
) -> None:
    job = LocalBackend(upscaler).job(plan, 4)
    stop_after(job, 2)
    damage(plan.work_folder / PLAN)
    report, _ = go_on(job)
    assert report.num_new == 57
    assert plan.output.read_bytes() == undisturbed


def test_without_a_plan_parts_of_another_job_are_refused(plan: Plan, upscaler: Upscaler) -> None:
    stop_after(LocalBackend(upscaler).job(plan, 4), 1)
    (plan.work_folder / PLAN).unlink()
    with pytest.raises(OptionError, match="no longer describes"):
        run(LocalBackend(upscaler).job(plan, 2))


def test_a_foreign_file_stays(
    plan: Plan, upscaler: Upscaler, undisturbed: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    job = LocalBackend(upscaler).job(plan, 4)
    stop_after(job, 1)
    (plan.work_folder / "notes.txt").write_text("mine")
    (plan.work_folder / "00000500.json").write_text("mine")
    (plan.work_folder / "00000400.nut").mkdir()
    go_on(job)
    assert plan.output.read_bytes() == undisturbed
    assert sorted(path.name for path in plan.work_folder.iterdir()) == ["00000400.nut", "notes.txt"]
    assert "stays" in caplog.text


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
        ("crf", "crf was 30 and is 31"),
        ("stop", "stop was not set and is 1.0"),
        ("source", "source has changed"),
    ],
)
def test_another_job_is_refused_with_what_differs(
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
        ({"num_inference_steps": 2}, "steps was 1 and is 2"),
        ({"seed": 7}, "seed was 0 and is 7"),
        ({"dtype": "bfloat16"}, "dtype was float32 and is bfloat16"),
        ({"tile_size": 32}, "tile-size was not set and is 32"),
    ],
)
def test_other_options_of_the_model_are_refused(options: dict[str, object], message: str, plan: Plan) -> None:
    stop_after(LocalBackend(Upscaler.load("compact", device="cpu", dtype="float32")).job(plan, 4), 1)
    other = {"device": "cpu", "dtype": "float32"} | options
    with pytest.raises(OptionError, match=message):
        run(LocalBackend(Upscaler.load("compact", **other)).job(plan, 4))


def test_another_program_or_other_weights_are_refused(plan: Plan, upscaler: Upscaler) -> None:
    job = LocalBackend(upscaler).job(plan, 4)
    stop_after(job, 1)
    with pytest.raises(OptionError, match=r"vidx4 was .* and is 9, the weights of the model have changed"):
        run(replace(job, identity={**job.identity, "vidx4": "9", "weights": "others"}))


def test_restart_begins_anew(plan: Plan, upscaler: Upscaler) -> None:
    stop_after(LocalBackend(upscaler).job(plan, 4), 2)
    report = run(LocalBackend(upscaler).job(plan, 2), restart=True)
    assert report.num_new == 129


def test_a_trial_is_gone_on_with_and_gives_way_to_another_job(
    plan: Plan, upscaler: Upscaler, undisturbed: bytes
) -> None:
    job = LocalBackend(upscaler).job(plan, 4)
    with start(job, is_trial=True) as trial:
        assert trial.estimate().num_left == 121
    assert go_on(job)[0].num_new == 121
    assert plan.output.read_bytes() == undisturbed
    plan.output.unlink()
    with start(LocalBackend(upscaler).job(plan, 2), is_trial=True) as trial:
        trial.estimate()
    assert go_on(job)[0].num_new == 129


def test_a_job_is_more_than_a_trial(plan: Plan, upscaler: Upscaler) -> None:
    job = LocalBackend(upscaler).job(plan, 4)
    stop_after(job, 2)
    with start(job, is_trial=True) as trial:
        assert "72 frames that are done" in trial.estimate().basis
    with (
        pytest.raises(OptionError, match="batch-size was 4 and is 2"),
        start(LocalBackend(upscaler).job(plan, 2)),
    ):
        pass


def test_an_output_that_was_written_just_before_the_end_is_recognised(
    plan: Plan, upscaler: Upscaler, undisturbed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = LocalBackend(upscaler).job(plan, 4)
    monkeypatch.setattr("vidx4.jobs.run.Run._report", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(job)
    monkeypatch.undo()
    assert plan.output.read_bytes() == undisturbed
    assert go_on(job)[0].num_new == 0
    assert not plan.work_folder.exists()


def test_an_output_of_somebody_else_is_not_replaced(plan: Plan, upscaler: Upscaler) -> None:
    job = LocalBackend(upscaler).job(plan, 4)
    stop_after(job, 4)
    plan.output.write_text("mine")
    with pytest.raises(OutputError, match="already exists"):
        run(job)
    assert plan.output.read_text() == "mine"
    assert (
        run(
            LocalBackend(upscaler).job(replace(plan, request=replace(plan.request, overwrite=True)), 4)
        ).num_new
        == 30
    )


def test_a_second_process_is_told_of_the_first(plan: Plan) -> None:
    job = Job(plan, LocalExecutor(upscale_nearest), 4)
    with start(job):
        context = multiprocessing.get_context("forkserver")
        with context.Pool(1) as pool:
            message = pool.apply(_message_of, (plan.source.path, plan.output))
    assert "Another job writes to" in message
    run(job)  # the lock is gone with the first


def _message_of(source: Path, output: Path) -> str:
    try:
        run(Job(plan_video(source, output, Request(encode=FAST)), LocalExecutor(upscale_nearest), 4))
    except OutputError as error:
        return str(error)
    return ""


def test_what_is_kept_is_told(plan: Plan, upscaler: Upscaler) -> None:
    stop = Event()
    control = Control(on_part=lambda part: stop.set() if part.stop == 90 else None, stop=stop)
    with pytest.raises(StoppedError) as caught:
        run(LocalBackend(upscaler).job(plan, 4), control)
    (note,) = caught.value.__notes__
    assert note.startswith(f"90 of 129 frames are kept in {plan.work_folder}")


def test_the_disk_holds_the_output_and_not_frames(plan: Plan, upscaler: Upscaler, undisturbed: bytes) -> None:
    """Two states are all that is kept beside the parts."""
    sizes: list[int] = []

    def measure(_: object) -> None:
        files = [path for path in plan.work_folder.iterdir() if path.suffix == ".state"]
        sizes.append(len(files))

    run(LocalBackend(upscaler).job(plan, 4), Control(on_part=measure))
    assert max(sizes) <= 2


def test_progress_counts_what_was_done_before(plan: Plan, upscaler: Upscaler) -> None:
    job = LocalBackend(upscaler).job(plan, 4)
    stop_after(job, 2)
    seen: list[Progress] = []
    run(job, Control(seen.append))
    assert [seen[0].num_done, seen[-1].num_done] == [76, 129]
    assert seen[-1].seconds_left == 0


def test_a_range_goes_on_too(clip: Path, tmp_path: Path, upscaler: Upscaler) -> None:
    span = TimeRange(Fraction(1), Fraction(6))
    plans = [
        plan_video(clip, tmp_path / name, Request(span=span, encode=FAST)) for name in ("a.mp4", "b.mp4")
    ]
    run(LocalBackend(upscaler).job(plans[0], 4))
    stop_after(LocalBackend(upscaler).job(plans[1], 4), 1)
    run(LocalBackend(upscaler).job(plans[1], 4))
    assert plans[0].output.read_bytes() == plans[1].output.read_bytes()


def test_plan_tells_what_the_job_is(plan: Plan, upscaler: Upscaler) -> None:
    stop_after(LocalBackend(upscaler).job(plan, 4), 1)
    identity = json.loads((plan.work_folder / PLAN).read_text())["identity"]
    assert identity["batch-size"] == 4
    assert {"source", "weights", "vidx4", "torch", "av", "steps", "crf", "codec", "device"} <= set(identity)
