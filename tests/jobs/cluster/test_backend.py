"""Parts that workers make equal those of this process, whichever workers are lost on the way."""

import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any, Concatenate, ParamSpec, TypeVar, cast
from unittest.mock import patch

import numpy as np
import pytest

from tests.hard_videos import episode
from tests.helpers import check_same, stop_after
from tests.video_builder import frames, panning_shots, scene, write
from vidx4.diffusion.options import UpscaleOptions
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import ModelError, OptionError, SourceError, StoppedError, WorkerError
from vidx4.jobs import identity
from vidx4.jobs.cluster import worker_pool as workers
from vidx4.jobs.cluster.backend import ClusterBackend
from vidx4.jobs.cluster.chunks import Chunk, Frames
from vidx4.jobs.cluster.model_files import ModelFiles, Models, ModelSpec
from vidx4.jobs.cluster.object_store import Ref, Value
from vidx4.jobs.cluster.task_queue import NO_WORK, QUEUED_PER_WORKER, Task, WorkerLost, WorkSize
from vidx4.jobs.cluster.worker import JobSpec, Worker, _ReadWriteLock
from vidx4.jobs.cluster.worker_pool import WorkerHandle, WorkerPool
from vidx4.jobs.local import LocalBackend
from vidx4.jobs.part_record import Part
from vidx4.jobs.plan import Plan, plan_video
from vidx4.jobs.progress import Control
from vidx4.jobs.request import Request
from vidx4.jobs.run import run, start
from vidx4.media.options import EncodeOptions

FAST = EncodeOptions(encoder_preset="ultrafast", crf=30)
COMPACT = UpscaleOptions(model="compact", device="cpu")
MODEL = ModelSpec(COMPACT, ModelFiles())
CAPACITY = WorkSize(128, 2**30)
PATIENCE = 120.0
"""Seconds after which something that should happen is taken to hang, even on a busy machine."""
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class InProcessStore:
    """An object store in this process."""

    def put(self, value: Value) -> Ref[Value]:
        return Ref(value)

    def get(self, ref: Ref[Value]) -> Value:
        return cast(Value, ref.key)


STORE = InProcessStore()


@dataclass(eq=False)
class InProcess:
    """A worker in this process that may die while it makes a part, before or after the work."""

    name: str
    dies: Callable[[], bool] = lambda: False
    worker: Worker = field(default_factory=lambda: Worker(1, STORE))
    is_dead: bool = False

    def _check_alive(self) -> None:
        self.is_dead = self.is_dead or self.dies()
        if self.is_dead:
            raise WorkerLost(f"{self.name} was lost.")

    def call(
        self,
        on_wait: Callable[[], object],
        method: Callable[Concatenate[Worker, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        may_die = method in (Worker.make_part, Worker.picture)
        if may_die:
            self._check_alive()
        result = method(self.worker, *args, **kwargs)
        if may_die:
            self._check_alive()
        return result

    def kill(self) -> None:
        self.is_dead = True


@contextmanager
def running(
    num_workers: int = 2,
    dies: Callable[[], bool] = lambda: False,
    capacity: WorkSize = CAPACITY,
    options: UpscaleOptions = COMPACT,
) -> Iterator[ClusterBackend]:
    """Give a model on workers that are replaced when they die."""
    models = Models("cpu", STORE, sends=False)
    pool = WorkerPool(lambda number: InProcess(f"Worker {number}", dies), num_workers, capacity)
    with closing(pool):
        yield ClusterBackend.load(pool, models, options)


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
    run(LocalBackend(upscaler).job(plan, 4))
    return plan.output.read_bytes()


@pytest.fixture
def plan(clip: Path, tmp_path: Path) -> Plan:
    return plan_video(clip, tmp_path / "out.mkv", Request(encode=FAST))


@pytest.mark.slow
def test_the_output_is_that_of_this_process(plan: Plan, local: bytes) -> None:
    parts: list[Part] = []
    progress: list[int] = []
    with running() as backend:
        control = Control(lambda each: progress.append(each.num_done), parts.append)
        report = run(backend.job(plan, 4), control)
    check_same(plan.output, local)
    assert sum(part.starts_shot for part in parts) == report.num_shots == 8
    assert (report.num_frames, report.num_new, progress[-1]) == (215, 215, 215)
    host, process = re.escape(platform.node()), os.getpid()
    assert all(re.fullmatch(rf"Worker [12] on {host} \(process {process}\)", name) for name in report.workers)
    assert len(report.workers) == 2
    assert sum(stats.num_frames for stats in report.workers.values()) == 215
    assert not plan.work_folder.exists()


def test_the_same_for_a_model_that_is_shown_its_last_result(stream_folder: Path, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mkv"
    write(clip, panning_shots([7, 5]), num_audio=0)
    options = UpscaleOptions(str(stream_folder), device="cpu", dtype="float32", num_inference_steps=1)
    here, there = (
        plan_video(clip, tmp_path / name, Request(encode=FAST)) for name in ("here.mkv", "there.mkv")
    )
    run(LocalBackend(Upscaler.from_options(options)).job(here))
    # It knows no noise level, so nothing is estimated here either.
    estimate = patch("vidx4.jobs.noise_level.estimate_film", side_effect=AssertionError)
    with running(options=options) as backend, estimate:
        run(backend.job(there))
    check_same(there.output, here.output.read_bytes())


def test_a_decoder_is_not_sent(tiny_folder: Path) -> None:
    options = UpscaleOptions(str(tiny_folder), decoder="tiny", device="cpu")
    with pytest.raises(OptionError, match="sends no decoder"):
        Models("cpu", STORE, sends=True).spec(options)


@pytest.mark.slow
def test_the_same_with_one_worker_and_no_capacity(plan: Plan, local: bytes) -> None:
    """Each chunk waits until the one before it is done."""
    with running(1, capacity=WorkSize(1, 1)) as backend:
        run(backend.job(plan, 4))
    check_same(plan.output, local)


@pytest.mark.slow
@pytest.mark.parametrize("deaths", [{1, 2}, {0, 5, 9}, {3, 12, 20}])
def test_the_same_when_workers_die(
    deaths: set[int], plan: Plan, local: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Before the work on a part, or after it."""
    moments = count()
    with running(dies=lambda: next(moments) in deaths) as backend:
        run(backend.job(plan, 4))
    losses = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert losses
    place = re.escape(str(plan.source.path))
    assert all(re.match(rf"Worker \d.* the shot at \d+\.\d\d s of {place}", each) for each in losses)
    check_same(plan.output, local)


@pytest.mark.slow
@pytest.mark.parametrize("num_parts", [1, 3, 5, 8])
def test_a_stopped_job_is_resumed_by_other_workers_or_without(
    num_parts: int, plan: Plan, upscaler: Upscaler, local: bytes
) -> None:
    with running() as backend:
        made = stop_after(backend.job(plan, 4), num_parts)
    if num_parts % 2:
        report = run(LocalBackend(upscaler).job(plan, 4))
    else:
        with running() as backend:
            report = run(backend.job(plan, 4))
    assert report.num_new <= 215 - sum(part.num_frames for part in made)
    check_same(plan.output, local)


@pytest.mark.slow
@pytest.mark.parametrize("num_parts", [1, 6, 7])
def test_a_job_of_this_process_is_resumed_by_workers(
    num_parts: int, plan: Plan, upscaler: Upscaler, local: bytes
) -> None:
    stop_after(LocalBackend(upscaler).job(plan, 4), num_parts)
    with running() as backend:
        run(backend.job(plan, 4))
    check_same(plan.output, local)


@pytest.mark.slow
def test_gaps_anywhere_are_closed(plan: Plan, upscaler: Upscaler, local: bytes) -> None:
    """What a power cut may leave: parts without those before them, and without the state after them."""
    stop_after(LocalBackend(upscaler).job(plan, 4), 9)
    for name in ("00000004.nut", "00000049.json", "00000155.nut", "00000155.state", "00000178.nut"):
        (plan.work_folder / name).unlink(missing_ok=True)
    with running() as backend:
        report = run(backend.job(plan, 4))
    check_same(plan.output, local)
    assert report.num_new < 215


def test_other_options_are_refused(plan: Plan, upscaler: Upscaler) -> None:
    stop_after(LocalBackend(upscaler).job(plan, 4), 1)
    with running() as backend, pytest.raises(OptionError, match=r"batch-size .*4.*2"):
        run(backend.job(plan, 2))


@pytest.mark.slow
def test_damage_is_reported_and_all_else_is_made(
    tmp_path: Path, upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "source.mp4", frames(scene(40)), num_audio=0)
    content = bytearray(source.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(400)
    source.write_bytes(content)
    plans = [plan_video(source, tmp_path / name, Request(encode=FAST)) for name in ("a.mp4", "b.mp4")]
    with running() as backend:
        reports = [run(LocalBackend(upscaler).job(plans[0], 4)), run(backend.job(plans[1], 4))]
        assert reports[0].damage == reports[1].damage != ()
        check_same(plans[0].output, plans[1].output.read_bytes())
        strict = replace(plans[1], request=replace(plans[1].request, strict=True, overwrite=True))
        with pytest.raises(SourceError, match=re.escape(str(source))):
            run(backend.job(strict, 4))


def test_a_job_whose_workers_keep_dying_fails_and_keeps_what_is_done(plan: Plan, upscaler: Upscaler) -> None:
    stop_after(LocalBackend(upscaler).job(plan, 4), 2)
    with running(dies=lambda: True) as backend, pytest.raises(WorkerError) as caught:
        run(backend.job(plan, 4))
    assert re.search(r"^4 .* the shot at \d", str(caught.value))
    assert caught.value.__notes__[0].startswith("40 of 215 frames")


def test_a_worker_that_makes_other_pixels_fails_the_job(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as backend:
        job = backend.job(plan, 4)
        monkeypatch.setattr(Upscaler, "identity", {"weights": "others"})
        with pytest.raises(WorkerError, match="weights of the model"):
            run(job)


@pytest.mark.slow
def test_a_second_job_starts_beside_the_end_of_the_first(clip: Path, tmp_path: Path, local: bytes) -> None:
    plans = [plan_video(clip, tmp_path / name, Request(encode=FAST)) for name in ("a.mkv", "b.mkv")]
    with running() as backend, ExitStack() as stack:
        is_read = Event()
        first = stack.enter_context(start(backend.job(plans[0], 4), Control(on_read=is_read.set)))
        thread = Thread(target=first.finish)
        thread.start()
        assert is_read.wait(PATIENCE)
        run(backend.job(plans[1], 4))
        thread.join()
    for plan in plans:
        check_same(plan.output, local)


def test_a_worker_keeps_a_job_with_an_open_shot(plan: Plan) -> None:
    worker = Worker(1, STORE)
    fitted = worker.fitted(MODEL, plan.source.width, plan.source.height, plan.num_frames, 4, None)
    black: Frames = np.zeros((8, 3, 16, 24), np.uint8)
    pts, frames = plan.source.pts, STORE.put(black)
    first = Chunk(0, pts[:8], starts_shot=True, ends_shot=False, next_pts=pts[8])
    last = Chunk(8, pts[8:16], starts_shot=False, ends_shot=True, next_pts=pts[16])
    alone = Chunk(0, pts[:8], starts_shot=True, ends_shot=True, next_pts=pts[8])
    specs = [JobSpec(str(number), MODEL, fitted, 4, STORE.put(plan)) for number in range(10)]
    worker.make_part(specs[0], first, frames, None, is_entry=True)
    for spec in specs[1:]:
        worker.make_part(spec, alone, frames, None, is_entry=True)
    assert worker.make_part(specs[0], last, frames, None, is_entry=False).part.num_frames == 8


@pytest.mark.slow
def test_a_trial_leaves_the_workers_to_others(plan: Plan, local: bytes) -> None:
    with running() as backend:
        with start(backend.job(plan, 4), is_trial=True) as work:
            assert work.estimate().seconds_per_frame > 0
        run(backend.job(plan, 4))
    check_same(plan.output, local)


@pytest.mark.parametrize("has_16_bits", [False, True])
def test_a_picture_is_that_of_this_process(has_16_bits: bool, upscaler: Upscaler) -> None:
    values = np.random.default_rng(1).integers(0, 65535, (12, 18, 3)).astype(np.uint16)
    pixels = values if has_16_bits else (values // 257).astype(np.uint8)
    with running() as backend:
        result = backend.picture(pixels, Control())
    expected = LocalBackend(upscaler).picture(pixels, Control())
    assert np.array_equal(result.pixels, expected.pixels)
    assert result.noise_level == result.estimated_noise_level == expected.estimated_noise_level is not None


def test_the_log_of_a_worker_is_taken_once() -> None:
    worker = Worker(1, STORE)
    worker.identity(MODEL)
    assert any("compact" in message for _, message in worker.take_log())
    assert worker.take_log() == []


@pytest.mark.slow
def test_a_worker_that_differs_from_the_first_is_refused(
    plan: Plan, local: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    is_first = Event()

    class Second(InProcess):
        def call(self, on_wait: Any, method: Any, *args: Any, **kwargs: Any) -> Any:
            result = super().call(on_wait, method, *args, **kwargs)
            if method is Worker.identity:
                assert is_first.wait(PATIENCE)
                return {**result, "device": "another"}
            return result

    kinds = {1: InProcess, 2: Second}
    with closing(WorkerPool(lambda number: kinds[number](f"Worker {number}"), 2, CAPACITY)) as pool:
        backend = ClusterBackend.load(pool, Models("cpu", STORE, sends=False), COMPACT)
        is_first.set()
        run(backend.job(plan, 4))
    check_same(plan.output, local)
    (warning,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert warning.startswith("Worker 2 ")
    assert "device was cpu and is another" in warning


def test_a_worker_of_another_program_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is this process that seems to run another."""
    here = {**identity.program(), "vidx4": "0.0.1", "program": "another"}
    monkeypatch.setattr(workers, "program", lambda: here)
    with pytest.raises(WorkerError) as caught, running(1):
        pass
    theirs = r"Worker 1 on \S+ \(process \d+\) runs vidx4 \S+ \([0-9a-f]{8}\) with PyAV \S+, .*"
    assert re.match(theirs + r"vidx4 0\.0\.1 \(another\) with PyAV \d", str(caught.value))


def test_a_pool_that_can_not_start_reports_the_reason() -> None:
    class Unlucky(InProcess):
        def call(self, on_wait: Any, method: Any, *args: Any, **kwargs: Any) -> Any:
            raise WorkerLost(f"{self.name} was lost: the machine is on fire.")

    models = Models("cpu", STORE, sends=False)
    pool = WorkerPool(lambda number: Unlucky(f"Worker {number}"), 2, CAPACITY)
    with closing(pool), pytest.raises(WorkerError, match=r"on fire\. .*\b4\b"):
        ClusterBackend.load(pool, models, COMPACT)
    pool = WorkerPool(lambda number: InProcess(f"Worker {number}"), 1, CAPACITY)
    with closing(pool), pytest.raises(ModelError, match="'nothing'"):
        ClusterBackend.load(pool, models, UpscaleOptions(model="nothing"))


@pytest.mark.parametrize("error", [WorkerLost("The cluster is on fire."), RuntimeError("It is on fire.")])
def test_a_pool_that_can_not_ask_for_a_worker_reports_the_reason(error: Exception) -> None:
    def start_worker(_: int) -> InProcess:
        raise error

    pool, outcome = WorkerPool(start_worker, 2, CAPACITY), Future[None]()

    def begin() -> None:
        try:
            pool.start(MODEL)
            outcome.set_result(None)
        except Exception as caught:
            outcome.set_exception(caught)

    Thread(target=begin, daemon=True).start()
    with closing(pool), pytest.raises((WorkerError, RuntimeError), match="on fire"):
        outcome.result(PATIENCE)


@dataclass(eq=False)
class Idle:
    """A worker that needs no model, since it is never given a task."""

    name: str
    is_dead: bool = False

    def call(self, on_wait: Any, method: Any, *args: Any, **kwargs: Any) -> Any:
        if self.is_dead:
            raise WorkerLost(f"{self.name} was lost.")
        if method is Worker.program:
            return {**identity.program(), "host": "here", "pid": "1"}
        return {}

    def kill(self) -> None:
        self.is_dead = True


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that other threads are about to do."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("num_workers", [2, 6])
def test_workers_that_died_while_idle_are_replaced_and_another_is_asked(num_workers: int) -> None:
    handles: list[Idle] = []

    def start_worker(number: int) -> WorkerHandle:
        handles.append(Idle(f"Worker {number}"))
        return handles[-1]

    with closing(WorkerPool(start_worker, num_workers, CAPACITY)) as pool:
        pool.start(MODEL)
        wait_until(lambda: pool.queue.stats().num_workers == num_workers)
        first = list(handles)
        for handle in first[:-1]:
            handle.kill()
        assert pool.ask(Worker.identity, MODEL) == {}
        for handle in first:
            handle.kill()
        assert pool.ask(Worker.identity, MODEL) == {}
        wait_until(lambda: pool.queue.stats().num_workers == num_workers)
        assert len(handles) > num_workers


@pytest.mark.parametrize("is_full", [False, True])
def test_a_picture_that_waits_for_its_turn_is_stopped(is_full: bool) -> None:
    """Until there is room for it, or until fewer tasks wait."""
    pool, control, errors = (
        WorkerPool(lambda number: Idle(str(number)), 1, CAPACITY),
        Control(),
        list[BaseException](),
    )
    size = CAPACITY if is_full else NO_WORK
    for _ in range(QUEUED_PER_WORKER):
        pool.queue.submit(Task(0, "a task", errors.append))
    pool.queue.reserve(Task(0, "a task", errors.append), size)
    backend = ClusterBackend(pool, Models("cpu", STORE, sends=False), COMPACT)
    with ThreadPoolExecutor() as threads, closing(pool):
        picture = threads.submit(backend.picture, np.zeros((4, 4, 3), np.uint8), control)
        control.stop.set()
        with pytest.raises(StoppedError):
            picture.result(PATIENCE)
        assert pool.queue.stats().size == size


def test_whoever_waits_to_hold_a_lock_alone_comes_before_later_others() -> None:
    lock, order = _ReadWriteLock(), list[str]()

    def load() -> None:
        with lock.exclusive():
            order.append("load")

    def work() -> None:
        with lock.shared():
            order.append("work")

    with ThreadPoolExecutor() as threads, lock.shared():
        threads.submit(load)
        wait_until(lambda: lock.num_waiting == 1)
        threads.submit(work)
        time.sleep(0.1)  # long enough to begin, if it could
    assert order == ["load", "work"]


def test_options_that_do_not_fit_the_model_are_refused_at_once() -> None:
    with running(1) as backend, pytest.raises(OptionError, match="150"):
        backend.with_options(UpscaleOptions(model="compact", device="cpu", noise_level=200))


def test_a_model_that_is_sent_is_the_same(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the topology of sd-x4; each worker of a machine uses the files that the first has received."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    options = UpscaleOptions(model=str(tiny_folder), device="cpu", dtype="float32", num_inference_steps=2)
    models = Models("cpu", STORE, sends=True)
    with closing(WorkerPool(lambda number: InProcess(f"Worker {number}"), 2, CAPACITY)) as pool:
        sent = ClusterBackend.load(pool, models, options).identity
    assert sent == Upscaler.from_options(options).identity
    (folder,) = tmp_path.glob("vidx4-*/*/model_index.json")
    assert folder.parent.name == models.spec(options).files.digest
