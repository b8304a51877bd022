"""What a worker does, in a process of its own: it loads models, and makes parts of chunks."""

import logging
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Lock
from typing import Any

import torch

from vidx4.diffusion.device import give_back_host_memory
from vidx4.diffusion.memory import Fit
from vidx4.diffusion.options import UpscaleOptions
from vidx4.diffusion.upscaler import Upscaler, loaded_by
from vidx4.errors import WorkerError
from vidx4.jobs.cluster.chunks import Chunk
from vidx4.jobs.cluster.model_files import Fetch, Setting, received
from vidx4.jobs.identity import Identity, differences, program
from vidx4.jobs.job import Pixels
from vidx4.jobs.parts import make_part
from vidx4.jobs.pipeline import EnlargeFollowed, TwoStageModel, buffered, enlarged
from vidx4.jobs.plan import Plan
from vidx4.jobs.progress import Advance, Control, StageSeconds, peak_memory
from vidx4.jobs.still.upscale import enlarge_pixels
from vidx4.jobs.work_folder import Part
from vidx4.temporal.follow import FollowedBatch
from vidx4.temporal.motion import set_num_threads
from vidx4.temporal.state import ShotState, Upscaled

_MAX_JOBS = 4
"""That are remembered though no shot of theirs is under way."""


@dataclass(frozen=True)
class Fitted:
    """How one worker found that frames of a size fit its device: the others do it alike."""

    options: UpscaleOptions
    fit: Fit
    identity: Identity


@dataclass(frozen=True)
class Task:
    """A job, as workers know it."""

    key: str
    """Its own."""
    setting: Setting
    fitted: Fitted
    batch_size: int
    plan: Any
    """A reference to it."""


@dataclass(frozen=True)
class Packed:
    """A part on its way home."""

    part: Part
    packets: bytes
    """The content of its file."""
    state: bytes | None
    """What the frames after it need, as a file; None where they need nothing of it."""
    seconds: StageSeconds
    peak_memory: int
    """Of the worker."""


class _Gate:
    """Lets work go on side by side, but nothing beside loading.

    While diffusers loads a network, PyTorch's default type is another, in all threads.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._num_inside = 0

    @contextmanager
    def beside_others(self) -> Iterator[None]:
        """Wait until nobody is alone."""
        with self._changed:
            self._num_inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._num_inside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until all others are done; who comes later waits."""
        with self._changed:
            self._changed.wait_for(lambda: not self._num_inside)
            yield


_gate = _Gate()


@dataclass
class _JobAtWork:
    plan: Plan
    upscaler: Upscaler
    states: dict[int, ShotState] = field(default_factory=dict)
    """Those after chunks whose shot goes on, by the frame that goes on from them."""
    num_at_work: int = 0
    """Chunks."""


class Worker:
    """Enlarges frames for somebody else; methods may be called in several threads.

    Args:
        num_threads: that it may use of the CPU.
        fetch: returns what a reference refers to.
    """

    def __init__(self, num_threads: int, fetch: Fetch) -> None:
        torch.set_num_threads(num_threads)
        set_num_threads(num_threads)
        self._fetch = fetch
        self._loaded: dict[tuple[str, ...], Upscaler] = {}
        self._jobs: dict[str, _JobAtWork] = {}
        self._advances: dict[tuple[str, int], Advance] = {}
        self._notes = _Notes()
        self._loading, self._enlarging = Lock(), Lock()

    def program(self) -> dict[str, str]:
        """Return what it runs, and where: nothing that another version of the program could not read."""
        return {**program(), "host": platform.node(), "pid": str(os.getpid())}

    def identity(self, setting: Setting) -> Identity:
        """Load a model, and return all that decides on the pixels of a result."""
        return self._upscaler(setting).identity

    def fitted(
        self, setting: Setting, width: int, height: int, num_frames: int, batch_size: int | None
    ) -> Fitted:
        """Find out how frames fit the memory; arguments and errors are those of `Upscaler.fitted`."""
        upscaler = self._upscaler(setting).fitted(width, height, num_frames, batch_size)
        return Fitted(upscaler.options, upscaler.fit, upscaler.identity)

    def make_part(
        self, task: Task, chunk: Chunk, frames: Any, state: bytes | None, *, is_entry: bool
    ) -> Packed:
        """Make a part.

        Args:
            task: the job.
            chunk: what the part is of.
            frames: a reference to the pixels.
            state: what the first frame needs of those before, as a file, where nothing of the shot was done
                here before.
            is_entry: whether that is so; else the state that was kept is used.
        """
        with self._at_work(task) as job, _gate.beside_others(), _tidied():
            return self._made(job, task, chunk, frames, _Start(state, is_entry))

    def _made(self, job: _JobAtWork, task: Task, chunk: Chunk, frames: Any, start: "_Start") -> Packed:
        before: ShotState | None
        before = _unpacked(start.state, job.upscaler) if start.is_entry else job.states.pop(chunk.start)
        seconds = StageSeconds()
        work = enlarged(
            TwoStageModel(job.upscaler.follow, self._in_turn(job.upscaler, seconds)),
            chunk.batches(self._fetch(frames), task.batch_size),
            before,
            Control(),
            seconds,
            buffered(job.plan.source, task.batch_size),
        )
        with self._reported(task, chunk) as on_advance, tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "part")
            with closing(seconds.timed_items("waiting", work)) as batches:
                num_frames = max(1, len(chunk.pts))
                made = make_part(chunk.start, path, batches, num_frames, job.plan, seconds, on_advance)
            if made.state is not None:
                job.states[made.part.stop] = made.state
            return Packed(made.part, path.read_bytes(), _packed(made.state), seconds, peak_memory())

    def _in_turn(self, upscaler: Upscaler, seconds: StageSeconds) -> EnlargeFollowed:
        """Let shots enlarge their batches one after another: two at once would take twice the memory."""

        def enlarge(batch: FollowedBatch, state: ShotState | None) -> Upscaled:
            asked = time.monotonic()
            with self._enlarging:
                seconds.model -= time.monotonic() - asked  # to wait for others is no work
                return upscaler(batch, state)

        return enlarge

    @contextmanager
    def _reported(self, task: Task, chunk: Chunk) -> Iterator[Callable[[Advance], None]]:
        key = task.key, chunk.start
        try:
            yield lambda advance: self._advances.__setitem__(key, advance)
        finally:
            self._advances.pop(key, None)

    def advance(self, key: str, start: int) -> Advance | None:
        """Return how far a part is that is at work, by the key of its job and its first frame."""
        return self._advances.get((key, start))

    def notes(self) -> list[tuple[int, str]]:
        """Return what there was to say since somebody asked, with the level of each message."""
        return self._notes.taken()

    def picture(self, setting: Setting, pixels: Any) -> Pixels:
        """Enlarge a still picture four times, given by a reference."""
        upscaler = self._upscaler(setting)
        with _gate.beside_others(), self._enlarging:
            return enlarge_pixels(self._fetch(pixels), upscaler)

    @contextmanager
    def _at_work(self, task: Task) -> Iterator[_JobAtWork]:
        """Give a job, which is not forgotten meanwhile, nor while a shot of it goes on."""
        job = self._job(task)
        try:
            yield job
        finally:
            with self._loading:
                job.num_at_work -= 1

    def _job(self, task: Task) -> _JobAtWork:
        with self._loading:
            if task.key in self._jobs:
                return self._counted(self._jobs[task.key])
        base = self._upscaler(task.setting)
        upscaler = Upscaler(base.components, task.fitted.options, task.fitted.fit)
        if found := differences(task.fitted.identity, upscaler.identity):
            raise WorkerError(f"A worker on {platform.node()} makes other pixels than the rest: {found}.")
        with self._loading:
            self._forget_jobs()
            new = _JobAtWork(self._fetch(task.plan), upscaler)
            return self._counted(self._jobs.setdefault(task.key, new))

    def _counted(self, job: _JobAtWork) -> _JobAtWork:
        job.num_at_work += 1
        return job

    def _forget_jobs(self) -> None:
        idle = [key for key, job in self._jobs.items() if not job.num_at_work and not job.states]
        for key in idle[: max(0, len(idle) - _MAX_JOBS)]:
            del self._jobs[key]

    def _upscaler(self, setting: Setting) -> Upscaler:
        """Return an upscaler; a model is loaded once."""
        options, key = setting.options, loaded_by(setting.options)
        with self._loading:
            if key not in self._loaded:
                folder = setting.files.folder
                if setting.files.sent:
                    folder = received(setting.files, self._fetch)
                with _gate.alone():
                    self._loaded[key] = Upscaler.from_options(options, folder)
            return Upscaler(self._loaded[key].components, options)


@dataclass(frozen=True)
class _Start:
    """What the first frame of a chunk goes on from."""

    state: bytes | None
    is_entry: bool


@contextmanager
def _tidied() -> Iterator[None]:
    """Give back memory after a chunk: within it, what is kept makes the next frame faster."""
    try:
        yield
    finally:
        give_back_host_memory()


def _unpacked(state: bytes | None, upscaler: Upscaler) -> ShotState | None:
    if state is None:
        return None
    with tempfile.NamedTemporaryFile() as file:
        file.write(state)
        file.flush()
        return ShotState.load(Path(file.name), upscaler.components.device)


def _packed(state: ShotState | None) -> bytes | None:
    if state is None:
        return None
    with tempfile.NamedTemporaryFile() as file:
        state.save(Path(file.name))
        return Path(file.name).read_bytes()


class _Notes(logging.Handler):
    """Keeps what the library logs, until somebody takes it."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._kept: list[tuple[int, str]] = []
        logger = logging.getLogger("vidx4")
        logger.setLevel(logging.INFO)
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append((record.levelno, record.getMessage()))

    def taken(self) -> list[tuple[int, str]]:
        self.acquire()
        try:
            kept, self._kept = self._kept, []
        finally:
            self.release()
        return kept
