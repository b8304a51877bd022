"""A model on the workers of a cluster: makes jobs of plans, and enlarges still pictures."""

from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from itertools import count
from queue import Queue
from typing import Self
from uuid import uuid4

from vidx4.diffusion.card import Card
from vidx4.diffusion.choice import MeasureCard
from vidx4.diffusion.options import ESTIMATE, UpscaleOptions
from vidx4.jobs.cluster.dispatch import ClusterExecutor
from vidx4.jobs.cluster.model_files import Models, ModelSpec
from vidx4.jobs.cluster.object_store import Ref
from vidx4.jobs.cluster.task_queue import Task, WorkItem, WorkSize
from vidx4.jobs.cluster.worker import JobSpec, Worker
from vidx4.jobs.cluster.worker_pool import WorkerHandle, WorkerPool
from vidx4.jobs.identity import NOTHING, Identity, identify, was_compiled
from vidx4.jobs.job import EnlargedPicture, Job, Pixels
from vidx4.jobs.noise_level import with_estimate, with_estimate_of_picture
from vidx4.jobs.plan import Plan
from vidx4.jobs.progress import Control
from vidx4.jobs.threads import next_item
from vidx4.jobs.work_folder import recorded_identity

_priorities = count()
"""Whatever is asked for first is done first."""


class ClusterBackend:
    """A model with its settings, on workers.

    Args:
        pool: the workers.
        models: where the model's files are.
        options: what decides how a frame looks.
    """

    def __init__(self, pool: WorkerPool, models: Models, options: UpscaleOptions) -> None:
        self._pool = pool
        self._models = models
        self._model = models.spec(options)

    @classmethod
    def load(cls, pool: WorkerPool, models: Models, options: UpscaleOptions) -> Self:
        """Have workers load a model; returns as soon as the first has.

        Raises:
            ModelError: no worker can load it.
            OptionError: the options don't fit the model or the device.
            WorkerError: no worker can start.
        """
        backend = cls(pool, models, options)
        pool.start(backend._model)
        return backend

    @cached_property
    def identity(self) -> Identity:
        """All that decides on the pixels of a result."""
        return self._pool.ask(Worker.identity, self._model)

    @property
    def _wants_estimate(self) -> bool:
        """Whether the noise level is left to an estimate, by a model that knows one."""
        return self.identity[ESTIMATE] is not None

    def with_options(self, options: UpscaleOptions) -> Self:
        """Return a backend with other options; raises as `Upscaler.with_options`."""
        backend = type(self)(self._pool, self._models, options)
        _ = backend.identity  # asks a worker, since only there is known whether the options fit the model
        return backend

    def job(self, plan: Plan, batch_size: int | None = None, known: Identity = NOTHING) -> Job:
        """Return the job of enlarging a video; arguments and errors are those of `Backend.job`."""
        source, earlier = plan.source, {**recorded_identity(plan.work_folder), **known}
        options = self._model.options
        if self._wants_estimate:
            options = with_estimate(options, source, plan.frames, earlier)
        size = source.width, source.height
        model = replace(self._model, options=options)
        was = was_compiled(earlier)
        fitted = self._pool.ask(Worker.fitted, model, *size, plan.num_frames, batch_size, was)
        batch_size = batch_size or fitted.fit.batch_size
        identity = identify(plan, batch_size, fitted.identity, known)
        store, pool = self._models.store, self._pool
        spec = JobSpec(uuid4().hex, model, fitted, batch_size, store.put(plan))
        executor = ClusterExecutor(pool.queue, spec, next(_priorities), store, pool.num_workers)
        return Job(plan, executor, batch_size, identity, options, fitted.state_spec)

    def picture(self, pixels: Pixels, control: Control) -> EnlargedPicture:
        """Enlarge a still picture four times.

        Args:
            pixels: the picture.
            control: is notified when there is room for others beside it.

        Raises:
            StoppedError: the control asks for it.
            WorkerError: no workers are left, or too many were lost on it.
        """
        # Whether the model knows noise levels is not asked, which would have to wait for a worker.
        options = with_estimate_of_picture(self._model.options, pixels)
        model = replace(self._model, options=options)
        results: Queue[EnlargedPicture | BaseException] = Queue()
        task: Task[WorkerHandle] = Task(next(_priorities), "a picture", results.put)
        size, queue = WorkSize(1, pixels.nbytes), self._pool.queue
        queue.reserve(task, size, control.check)
        queue.add(task, _PictureItem(size, model, self._models.store.put(pixels), results))
        queue.complete(task)
        queue.submit(task, control.check)
        control.on_read()
        try:
            result = next_item(results, control.check)
        finally:
            queue.cancel(task)
        if isinstance(result, BaseException):
            raise result
        return result


class ClusterLoader:
    """Has the workers of a cluster load models.

    Args:
        pool: the workers.
        models: where the models' files are.
    """

    def __init__(self, pool: WorkerPool, models: Models) -> None:
        self._pool = pool
        self._models = models
        self._measured = cache(self._measure)

    def load(self, options: UpscaleOptions) -> ClusterBackend:
        """Have workers load a model; raises as `ClusterBackend.load`."""
        return ClusterBackend.load(self._pool, self._models, options)

    def card(self, options: UpscaleOptions) -> MeasureCard | None:
        """Return what measures the GPU of a worker; see `Loader.card`."""
        return partial(self._measured, options.dtype) if self._models.device.type == "cuda" else None

    def _measure(self, precision: str) -> Card:
        """Return the cards of all workers, which are taken for alike: one of them is measured."""
        card = self._pool.ask_early(Worker.card, precision)
        return replace(card, num_cards=self._pool.num_workers)


@dataclass(frozen=True)
class _PictureItem(WorkItem[WorkerHandle]):
    """A still picture."""

    size: WorkSize
    model: ModelSpec
    pixels: Ref[Pixels]
    results: Queue[EnlargedPicture | BaseException]

    def run(self, worker: WorkerHandle, *, is_first: bool) -> None:
        """Have a worker enlarge it."""
        self.results.put(worker.call(lambda: None, Worker.picture, self.model, self.pixels))
