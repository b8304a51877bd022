"""A model on workers: jobs of plans, and still pictures."""

from dataclasses import dataclass
from functools import cached_property
from itertools import count
from queue import Empty, Queue
from typing import Any, Self
from uuid import uuid4

from vidx4.diffusion.options import UpscaleOptions
from vidx4.jobs.cluster.dispatch import POLL_SECONDS, Hand, Remote
from vidx4.jobs.cluster.model_files import Models, Setting
from vidx4.jobs.cluster.scheduler import Errand, Load, Piece
from vidx4.jobs.cluster.worker import Fitted, Task
from vidx4.jobs.cluster.workers import Staff
from vidx4.jobs.identity import Identity, identify
from vidx4.jobs.job import Job, Pixels
from vidx4.jobs.plan import Plan
from vidx4.jobs.progress import Control

_ranks = count()
"""What comes first is done first."""


class ClusterBackend:
    """A model with its settings, on workers.

    Args:
        staff: the workers.
        models: tells where its files are.
        options: what decides how a frame looks.
    """

    def __init__(self, staff: Staff, models: Models, options: UpscaleOptions) -> None:
        self._staff = staff
        self._models = models
        self._setting = models.setting(options)

    @classmethod
    def load(cls, staff: Staff, models: Models, options: UpscaleOptions) -> Self:
        """Let workers load a model; returns when the first has.

        Raises:
            ModelError: no worker can have it.
            OptionError: options don't fit the model or the device.
            WorkerError: no worker can begin.
        """
        backend = cls(staff, models, options)
        staff.begin(backend._setting)
        return backend

    @cached_property
    def identity(self) -> Identity:
        """All that decides on the pixels of a result."""
        return self._staff.ask(lambda worker: worker.identity(self._setting))

    def with_options(self, options: UpscaleOptions) -> Self:
        """Return a backend with other options; raises as `Upscaler.with_options`."""
        backend = type(self)(self._staff, self._models, options)
        assert backend.identity  # only a worker knows whether options fit a model
        return backend

    def job(self, plan: Plan, batch_size: int | None = None, source_digest: str | None = None) -> Job:
        """Return the job of enlarging a video; arguments and errors are those of `Backend.job`."""
        size = plan.source.width, plan.source.height
        fitted: Fitted = self._staff.ask(
            lambda worker: worker.fitted(self._setting, *size, plan.num_frames, batch_size)
        )
        batch_size = batch_size or fitted.fit.batch_size
        identity = identify(plan, batch_size, fitted.identity, source_digest)
        store = self._models.store
        task = Task(uuid4().hex, self._setting, fitted, batch_size, store(plan))
        executor = Remote(self._staff.crew, task, next(_ranks), store, self._staff.num_workers)
        return Job(plan, executor, batch_size, identity)

    def picture(self, pixels: Pixels, control: Control) -> Pixels:
        """Enlarge a still picture four times.

        Args:
            pixels: of the picture.
            control: hears when there is room for others beside it.

        Raises:
            StoppedError: the control says so.
            WorkerError: there is no worker any more, or too many were lost at it.
        """
        results: Queue[Pixels | BaseException] = Queue()
        errand: Errand[Hand] = Errand(next(_ranks), "a picture", results.put)
        load, crew = Load(1, pixels.nbytes), self._staff.crew
        crew.make_room(errand, load)
        crew.put(errand, _PicturePiece(load, self._setting, self._models.store(pixels), results))
        crew.complete(errand)
        crew.begin(errand)
        control.on_read()
        try:
            return _awaited(results, control)
        finally:
            crew.drop(errand)


def _awaited(results: "Queue[Pixels | BaseException]", control: Control) -> Pixels:
    while True:
        control.check()
        try:
            result = results.get(timeout=POLL_SECONDS)
        except Empty:
            continue
        if isinstance(result, BaseException):
            raise result
        return result


@dataclass
class _PicturePiece(Piece[Hand]):
    """A still picture."""

    load: Load
    setting: Setting
    pixels: Any
    """A reference."""
    results: "Queue[Pixels | BaseException]"

    def run(self, hand: Hand, *, is_first: bool) -> None:
        """Let a worker enlarge it."""
        self.results.put(hand.picture(self.setting, self.pixels))
