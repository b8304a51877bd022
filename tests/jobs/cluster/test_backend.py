"""Parts that a crew makes are those that this process makes, whoever is lost on the way."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest

from tests.hard_videos import episode
from tests.helpers import stop_after
from tests.video_builder import frames, scene, write
from vidx4.diffusion.options import UpscaleOptions
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import ModelError, OptionError, SourceError, WorkerError
from vidx4.jobs.cluster.backend import ClusterBackend
from vidx4.jobs.cluster.chunks import Chunk
from vidx4.jobs.cluster.model_files import ModelFiles, Models, Setting
from vidx4.jobs.cluster.scheduler import Load, WorkerLost
from vidx4.jobs.cluster.worker import Fitted, Packed, Task, Worker
from vidx4.jobs.cluster.workers import Staff
from vidx4.jobs.identity import Identity
from vidx4.jobs.local import LocalBackend, local_job
from vidx4.jobs.plan import Plan, plan_video
from vidx4.jobs.progress import Advance, Control
from vidx4.jobs.request import Request
from vidx4.jobs.run import run, start
from vidx4.jobs.work_folder import Part
from vidx4.media.options import EncodeOptions

FAST = EncodeOptions(encoder_preset="ultrafast", crf=30)
COMPACT = UpscaleOptions(model="compact", device="cpu")
SETTING = Setting(COMPACT, ModelFiles())
ROOM = Load(128, 2**30)
Luck = Callable[[], bool]


def itself(value: Any) -> Any:
    """Be store and what fetches from it."""
    return value


@dataclass(eq=False)
class InProcess:
    """A worker in this process that may die while it makes a part, before or after the work."""

    name: str
    dies: Luck = lambda: False
    worker: Worker = field(default_factory=lambda: Worker(1, itself))
    is_dead: bool = False

    def _live(self) -> None:
        self.is_dead = self.is_dead or self.dies()
        if self.is_dead:
            raise WorkerLost(f"{self.name} was lost.")

    def begin(self, setting: Setting, is_over: Event) -> Identity:
        return self.identity(setting)

    def identity(self, setting: Setting) -> Identity:
        return self.worker.identity(setting)

    def fitted(self, setting: Setting, *size: Any) -> Fitted:
        return self.worker.fitted(setting, *size)

    def make_part(self, *task: Any, on_advance: Callable[[Advance], Any], is_entry: bool) -> Packed:
        self._live()
        packed = self.worker.make_part(*task, is_entry=is_entry)
        self._live()
        return packed

    def picture(self, setting: Setting, pixels: Any) -> Any:
        self._live()
        return self.worker.picture(setting, pixels)

    def dismiss(self) -> None:
        self.is_dead = True


@contextmanager
def at_work(num_workers: int = 2, dies: Luck = lambda: False, room: Load = ROOM) -> Iterator[ClusterBackend]:
    """Give a model on workers that are replaced when they die."""
    models = Models("cpu", itself, sends=False)
    with closing(Staff(lambda number: InProcess(f"Worker {number}", dies), num_workers, room)) as staff:
        yield ClusterBackend.load(staff, models, COMPACT)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a video of eight shots, with a variable rate, three sound tracks and subtitles."""
    return episode(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return Upscaler.load("compact", device="cpu")


@pytest.fixture(scope="module")
def local(clip: Path, upscaler: Upscaler, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    plan = plan_video(clip, tmp_path_factory.mktemp("local") / "out.mkv", Request(encode=FAST))
    run(local_job(plan, upscaler, 4))
    return plan.output.read_bytes()


@pytest.fixture
def plan(clip: Path, tmp_path: Path) -> Plan:
    return plan_video(clip, tmp_path / "out.mkv", Request(encode=FAST))


def test_the_output_is_that_of_this_process(plan: Plan, local: bytes) -> None:
    parts: list[Part] = []
    progress: list[int] = []
    with at_work() as backend:
        control = Control(lambda each: progress.append(each.num_done), parts.append)
        report = run(backend.job(plan, 4), control)
    assert plan.output.read_bytes() == local
    assert sum(part.starts_shot for part in parts) == report.num_shots == 8
    assert (report.num_frames, report.num_new, progress[-1]) == (215, 215, 215)
    assert set(report.workers) == {"Worker 1", "Worker 2"}
    assert sum(share.num_frames for share in report.workers.values()) == 215
    assert not plan.work_folder.exists()


def test_the_same_with_one_worker_and_no_room(plan: Plan, local: bytes) -> None:
    """Each chunk waits until the last one is done."""
    with at_work(1, room=Load(1, 1)) as backend:
        run(backend.job(plan, 4))
    assert plan.output.read_bytes() == local


@pytest.mark.parametrize("deaths", [{1, 2}, {0, 5, 9}, {3, 12, 20}])
def test_the_same_when_workers_die(
    deaths: set[int], plan: Plan, local: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Before the work on a part, or after it."""
    moments = count()
    with at_work(dies=lambda: next(moments) in deaths) as backend:
        run(backend.job(plan, 4))
    assert "was lost. Another one goes on with the shot at" in caplog.text
    assert plan.output.read_bytes() == local


@pytest.mark.parametrize("num_parts", [1, 3, 5, 8])
def test_a_stopped_job_goes_on_with_other_workers_or_without(
    num_parts: int, plan: Plan, upscaler: Upscaler, local: bytes
) -> None:
    with at_work() as backend:
        made = stop_after(backend.job(plan, 4), num_parts)
    if num_parts % 2:
        report = run(local_job(plan, upscaler, 4))
    else:
        with at_work() as backend:
            report = run(backend.job(plan, 4))
    assert report.num_new <= 215 - sum(part.num_frames for part in made)
    assert plan.output.read_bytes() == local


@pytest.mark.parametrize("num_parts", [1, 6, 7])
def test_a_job_of_this_process_goes_on_with_workers(
    num_parts: int, plan: Plan, upscaler: Upscaler, local: bytes
) -> None:
    stop_after(local_job(plan, upscaler, 4), num_parts)
    with at_work() as backend:
        run(backend.job(plan, 4))
    assert plan.output.read_bytes() == local


def test_gaps_anywhere_are_closed(plan: Plan, upscaler: Upscaler, local: bytes) -> None:
    """What a power cut may leave: parts without those before them, and without the state after them."""
    stop_after(local_job(plan, upscaler, 4), 9)
    for name in ("00000004.nut", "00000049.json", "00000155.nut", "00000155.state", "00000178.nut"):
        (plan.work_folder / name).unlink(missing_ok=True)
    with at_work() as backend:
        report = run(backend.job(plan, 4))
    assert plan.output.read_bytes() == local
    assert report.num_new < 215


def test_other_options_are_refused(plan: Plan, upscaler: Upscaler) -> None:
    stop_after(local_job(plan, upscaler, 4), 1)
    with at_work() as backend, pytest.raises(OptionError, match="batch-size was 4 and is 2"):
        run(backend.job(plan, 2))


def test_damage_is_told_and_all_else_is_made(
    tmp_path: Path, upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "source.mp4", frames(scene(40)), num_audio=0)
    content = bytearray(source.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(400)
    source.write_bytes(content)
    plans = [plan_video(source, tmp_path / name, Request(encode=FAST)) for name in ("a.mp4", "b.mp4")]
    with at_work() as backend:
        reports = [run(local_job(plans[0], upscaler, 4)), run(backend.job(plans[1], 4))]
        assert reports[0].damage == reports[1].damage != ()
        assert plans[0].output.read_bytes() == plans[1].output.read_bytes()
        strict = replace(plans[1], request=replace(plans[1].request, strict=True, overwrite=True))
        with pytest.raises(SourceError, match="is damaged"):
            run(backend.job(strict, 4))


def test_where_workers_die_again_and_again_the_job_fails_and_keeps_what_is_done(
    plan: Plan, upscaler: Upscaler
) -> None:
    stop_after(local_job(plan, upscaler, 4), 2)
    with at_work(dies=lambda: True) as backend, pytest.raises(WorkerError) as caught:
        run(backend.job(plan, 4))
    assert str(caught.value).startswith("4 workers were lost at the same place of the shot at ")
    assert caught.value.__notes__[0].startswith("40 of 215 frames are kept in")


def test_a_worker_that_makes_other_pixels_fails_the_job(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    with at_work() as backend:
        job = backend.job(plan, 4)
        monkeypatch.setattr(Upscaler, "identity", {"weights": "others"})
        with pytest.raises(WorkerError, match=r"makes other pixels than the rest: .*weights of the model"):
            run(job)


def test_two_jobs_share_a_crew_the_second_beside_the_end_of_the_first(
    clip: Path, tmp_path: Path, local: bytes
) -> None:
    plans = [plan_video(clip, tmp_path / name, Request(encode=FAST)) for name in ("a.mkv", "b.mkv")]
    with at_work() as backend, ExitStack() as stack:
        is_read = Event()
        first = stack.enter_context(start(backend.job(plans[0], 4), Control(on_read=is_read.set)))
        thread = Thread(target=first.finish)
        thread.start()
        assert is_read.wait(60)
        run(backend.job(plans[1], 4))
        thread.join()
    assert plans[0].output.read_bytes() == plans[1].output.read_bytes() == local


def test_a_shot_goes_on_after_many_other_jobs_of_its_worker(plan: Plan) -> None:
    worker = Worker(1, itself)
    fitted = worker.fitted(SETTING, plan.source.width, plan.source.height, plan.num_frames, 4)
    pts, frames = plan.source.pts, np.zeros((8, 3, 16, 24), np.uint8)
    first = Chunk(0, pts[:8], starts_shot=True, ends_shot=False, next_pts=pts[8])
    last = Chunk(8, pts[8:16], starts_shot=False, ends_shot=True, next_pts=pts[16])
    alone = Chunk(0, pts[:8], starts_shot=True, ends_shot=True, next_pts=pts[8])
    tasks = [Task(str(number), SETTING, fitted, 4, plan) for number in range(10)]
    worker.make_part(tasks[0], first, frames, None, is_entry=True)
    for task in tasks[1:]:
        worker.make_part(task, alone, frames, None, is_entry=True)
    assert worker.make_part(tasks[0], last, frames, None, is_entry=False).part.num_frames == 8


def test_a_trial_leaves_the_crew_to_others(plan: Plan, local: bytes) -> None:
    with at_work() as backend:
        with start(backend.job(plan, 4), is_trial=True) as work:
            assert work.estimate().seconds_per_frame > 0
        run(backend.job(plan, 4))
    assert plan.output.read_bytes() == local


@pytest.mark.parametrize("is_deep", [False, True])
def test_a_picture_is_that_of_this_process(is_deep: bool, upscaler: Upscaler) -> None:
    values = np.random.default_rng(1).integers(0, 65535, (12, 18, 3)).astype(np.uint16)
    pixels = values if is_deep else (values // 257).astype(np.uint8)
    with at_work() as backend:
        result = backend.picture(pixels, Control())
    expected = LocalBackend(upscaler).picture(pixels, Control())
    assert np.array_equal(result, expected)


def test_what_workers_have_to_say_is_heard_once() -> None:
    worker = Worker(1, itself)
    worker.identity(SETTING)
    assert any("compact" in message for _, message in worker.notes())
    assert worker.notes() == []


def test_a_worker_that_differs_from_the_first_is_refused(
    plan: Plan, local: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    class Other(InProcess):
        def begin(self, setting: Setting, is_over: Event) -> Identity:
            return {**super().begin(setting, is_over), "device": "another"}

    is_first = Event()

    class Second(Other):
        def begin(self, setting: Setting, is_over: Event) -> Identity:
            assert is_first.wait(60)
            return super().begin(setting, is_over)

    with closing(Staff(lambda number: (InProcess, Second)[number - 1](f"Worker {number}"), 2, ROOM)) as staff:
        backend = ClusterBackend.load(staff, Models("cpu", itself, sends=False), COMPACT)
        is_first.set()
        run(backend.job(plan, 4))
    assert plan.output.read_bytes() == local
    text = "Worker 2 is refused, since it differs from the first: device was cpu and is another."
    assert f"{text} The others go on without it." in caplog.text


def test_where_no_worker_can_begin_the_reason_is_told() -> None:
    class Unlucky(InProcess):
        def begin(self, setting: Setting, is_over: Event) -> Identity:
            raise WorkerLost(f"{self.name} was lost: the machine is on fire.")

    with closing(Staff(lambda number: Unlucky(f"Worker {number}"), 2, ROOM)) as staff:
        models = Models("cpu", itself, sends=False)
        with pytest.raises(WorkerError, match=r"on fire\. That was so 4 times before it could begin\."):
            ClusterBackend.load(staff, models, COMPACT)
        with pytest.raises(ModelError, match="no model 'nothing'"):
            ClusterBackend.load(
                Staff(InProcess, 1, ROOM),  # type: ignore[arg-type]
                models,
                UpscaleOptions(model="nothing"),
            )


def test_a_model_that_is_sent_is_the_same(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the topology of sd-x4; each worker of a machine uses the files that the first has received."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    options = UpscaleOptions(model=str(tiny_folder), device="cpu", dtype="float32", num_inference_steps=2)
    models = Models("cpu", itself, sends=True)
    with closing(Staff(lambda number: InProcess(f"Worker {number}"), 2, ROOM)) as staff:
        sent = ClusterBackend.load(staff, models, options).identity
    assert sent == Upscaler.from_options(options).identity
    (folder,) = tmp_path.glob("vidx4-*/*/model_index.json")
    assert folder.parent.name == models.setting(options).files.digest
