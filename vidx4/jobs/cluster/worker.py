"""What a worker does, in a process of its own: it loads models, and makes parts of chunks."""

import logging
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Lock

import torch

from vidx4.diffusion.card import Card, measure_card
from vidx4.diffusion.device import choose_device, choose_dtype, give_back_host_memory
from vidx4.diffusion.memory import Fit
from vidx4.diffusion.options import UpscaleOptions
from vidx4.diffusion.upscaler import Upscaler, loaded_by
from vidx4.errors import WorkerError
from vidx4.jobs.cluster.chunks import Chunk, Frames
from vidx4.jobs.cluster.model_files import ModelSpec, received
from vidx4.jobs.cluster.object_store import ObjectStore, Ref
from vidx4.jobs.identity import Identity, differences, program
from vidx4.jobs.job import EnlargedPicture, Pixels
from vidx4.jobs.part_record import Part
from vidx4.jobs.parts import make_part
from vidx4.jobs.pipeline import EnlargeFollowed, TwoStageModel, buffered, enlarged
from vidx4.jobs.plan import Plan
from vidx4.jobs.progress import Advance, Control, StageSeconds, peak_memory
from vidx4.temporal.follow import FollowedBatch
from vidx4.temporal.motion import set_num_threads
from vidx4.temporal.state import ShotState, Upscaled
from vidx4.temporal.state_spec import StateSpec
from vidx4.working_time import working_seconds

_MAX_IDLE_JOBS = 4
"""Jobs that are remembered though no shot of theirs is open: their next shot may come soon."""


@dataclass(frozen=True)
class FittedOptions:
    """How one worker found that frames of a size fit its device: all others do the same."""

    options: UpscaleOptions
    fit: Fit
    identity: Identity
    state_spec: StateSpec


@dataclass(frozen=True)
class JobSpec:
    """A job, as workers know it."""

    key: str
    """A unique name."""
    model: ModelSpec
    fitted: FittedOptions
    batch_size: int
    plan: Ref[Plan]


@dataclass(frozen=True)
class PartResult:
    """A part, as a worker returns it."""

    part: Part
    packets: bytes
    """Content of the part's file."""
    state: bytes | None
    """What the next frames need of it, as a file; None if they need nothing."""
    seconds: StageSeconds
    peak_memory: int
    """Most memory that the worker has used, in bytes."""


class _ReadWriteLock:
    """Lets many hold it together, or one alone."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._num_sharing = 0
        self.num_waiting = 0
        """How many wait until they can hold it alone."""

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold it together with others, after those that wait to hold it alone."""
        with self._changed:
            # Else the others could hold it by turns for ever.
            self._changed.wait_for(lambda: not self.num_waiting)
            self._num_sharing += 1
        try:
            yield
        finally:
            with self._changed:
                self._num_sharing -= 1
                self._changed.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold it alone; whoever comes later waits."""
        with self._changed:
            self.num_waiting += 1
            try:
                self._changed.wait_for(lambda: not self._num_sharing)
            finally:
                self.num_waiting -= 1
                self._changed.notify_all()
            yield


# While diffusers loads a network, it changes PyTorch's default type for all threads: nothing else may run.
_default_type_lock = _ReadWriteLock()


@dataclass
class _OpenJob:
    plan: Plan
    upscaler: Upscaler
    states: dict[int, ShotState] = field(default_factory=dict)
    """States of shots that are not done, by the frame that comes next."""
    num_running: int = 0
    """Chunks that are being made."""


class Worker:
    """Enlarges frames for another process; methods may be called in several threads.

    Args:
        num_threads: CPU threads that it may use.
        store: where references are fetched from.
    """

    def __init__(self, num_threads: int, store: ObjectStore) -> None:
        torch.set_num_threads(num_threads)
        set_num_threads(num_threads)
        self._store = store
        self._loaded: dict[tuple[str | None, ...], Upscaler] = {}
        self._jobs: dict[str, _OpenJob] = {}
        self._advances: dict[tuple[str, int], Advance] = {}
        self._log = _LogBuffer()
        self._loading, self._enlarging = Lock(), Lock()

    def program(self) -> dict[str, str]:
        """Return what it runs, and where, in types that another version of the program can read."""
        return {**program(), "host": platform.node(), "pid": str(os.getpid())}

    def card(self, precision: str) -> Card:
        """Measure its GPU in a precision, a value of `Precision`; raises as `measure_card`."""
        device = choose_device("cuda")
        return measure_card(device, choose_dtype(precision, device))

    def identity(self, model: ModelSpec) -> Identity:
        """Load a model, and return all that decides on the pixels of a result."""
        return self._upscaler(model).identity

    def fitted(
        self,
        model: ModelSpec,
        width: int,
        height: int,
        num_frames: int,
        batch_size: int | None,
        was_compiled: bool | None,
    ) -> FittedOptions:
        """Find out how frames fit the memory; arguments and errors are those of `Upscaler.fitted`."""
        upscaler = self._upscaler(model)
        with _default_type_lock.shared(), self._enlarging:  # it may enlarge a frame to try the compiler
            upscaler = upscaler.fitted(width, height, num_frames, batch_size, was_compiled)
        return FittedOptions(upscaler.options, upscaler.fit, upscaler.identity, upscaler.state_spec)

    def make_part(
        self, spec: JobSpec, chunk: Chunk, frames: Ref[Frames], state: bytes | None, *, is_entry: bool
    ) -> PartResult:
        """Make a part.

        Args:
            spec: the job.
            chunk: the frames that become the part.
            frames: their pixels.
            state: what the first frame needs of those before it, as a file; None if it needs nothing.
            is_entry: whether this worker has done nothing of the shot before; else `state` is ignored for the
                one that it kept.
        """
        with self._open_job(spec) as job, _default_type_lock.shared(), _memory_given_back():
            upscaler, source = job.upscaler, job.plan.source
            before = _unpacked(state, upscaler) if is_entry else job.states.pop(chunk.start)
            seconds = StageSeconds()
            work = enlarged(
                TwoStageModel(upscaler.follow, self._one_at_a_time(upscaler, seconds)),
                chunk.batches(self._store.get(frames), spec.batch_size),
                before,
                Control(),
                seconds,
                buffered(source, spec.batch_size),
            )
            with self._advance_kept(spec, chunk) as on_advance, tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "part")
                with closing(seconds.timed_items("waiting", work)) as batches:
                    num_frames = max(1, len(chunk.pts))
                    made = make_part(chunk.start, path, batches, num_frames, job.plan, seconds, on_advance)
                if made.state is not None:
                    job.states[made.part.stop] = made.state
                return PartResult(made.part, path.read_bytes(), _packed(made.state), seconds, peak_memory())

    def _one_at_a_time(self, upscaler: Upscaler, seconds: StageSeconds) -> EnlargeFollowed:
        """Have shots enlarge their batches in turn: two at once would take twice the memory."""

        def enlarge(batch: FollowedBatch, state: ShotState | None) -> Upscaled:
            asked = working_seconds()
            with self._enlarging:
                seconds.model -= working_seconds() - asked  # waiting for others is not work
                return upscaler(batch, state)

        return enlarge

    @contextmanager
    def _advance_kept(self, spec: JobSpec, chunk: Chunk) -> Iterator[Callable[[Advance], None]]:
        """Give what remembers how far a part is, for as long as it is being made."""
        key = spec.key, chunk.start
        try:
            yield lambda advance: self._advances.__setitem__(key, advance)
        finally:
            self._advances.pop(key, None)

    def advance(self, key: str, start: int) -> Advance | None:
        """Return how far a part is, by its job's key and its first frame; None if it is not being made."""
        return self._advances.get((key, start))

    def take_log(self) -> list[tuple[int, str]]:
        """Return the levels and texts of what was logged since the last call."""
        return self._log.take()

    def picture(self, model: ModelSpec, pixels: Ref[Pixels]) -> EnlargedPicture:
        """Enlarge a still picture four times."""
        upscaler = self._upscaler(model)
        with _default_type_lock.shared(), self._enlarging:
            return EnlargedPicture.by(upscaler, self._store.get(pixels))

    @contextmanager
    def _open_job(self, spec: JobSpec) -> Iterator[_OpenJob]:
        """Give a job, which is not forgotten within the block, nor while a shot of it is not done."""
        job = self._started_job(spec)
        try:
            yield job
        finally:
            with self._loading:
                job.num_running -= 1

    def _started_job(self, spec: JobSpec) -> _OpenJob:
        with self._loading:
            if job := self._jobs.get(spec.key):
                job.num_running += 1
                return job
        base = self._upscaler(spec.model)
        upscaler = Upscaler(base.components, spec.fitted.options, spec.fitted.fit)
        if found := differences(spec.fitted.identity, upscaler.identity):
            raise WorkerError(
                f"The worker on {platform.node()} makes different pixels from the others: {found}."
            )
        with self._loading:
            self._forget_idle_jobs()
            # Another thread may have started the same job meanwhile.
            job = self._jobs.setdefault(spec.key, _OpenJob(self._store.get(spec.plan), upscaler))
            job.num_running += 1
            return job

    def _forget_idle_jobs(self) -> None:
        idle = [key for key, job in self._jobs.items() if not job.num_running and not job.states]
        for key in idle[: max(0, len(idle) - _MAX_IDLE_JOBS)]:
            del self._jobs[key]

    def _upscaler(self, model: ModelSpec) -> Upscaler:
        """Return an upscaler; each model is loaded once."""
        options, key = model.options, loaded_by(model.options)
        with self._loading:
            if key not in self._loaded:
                path = received(model.files, self._store) if model.files.sent else model.files.path
                with _default_type_lock.exclusive():
                    self._loaded[key] = Upscaler.from_options(options, path)
            return Upscaler(self._loaded[key].components, options)


@contextmanager
def _memory_given_back() -> Iterator[None]:
    """Return memory to the system after a chunk: within one, what is held makes the next frame faster."""
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


class _LogBuffer(logging.Handler):
    """Holds what the library logs until it is taken."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._held: list[tuple[int, str]] = []
        logger = logging.getLogger("vidx4")
        logger.setLevel(logging.INFO)
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self._held.append((record.levelno, record.getMessage()))

    def take(self) -> list[tuple[int, str]]:
        self.acquire()
        try:
            held, self._held = self._held, []
        finally:
            self.release()
        return held
