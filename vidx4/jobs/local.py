"""Parts made in this process, one after another."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import torch

from vidx4.diffusion.card import measure_card
from vidx4.diffusion.choice import MeasureCard
from vidx4.diffusion.device import choose_device, choose_dtype
from vidx4.diffusion.memory import check_size
from vidx4.diffusion.options import UpscaleOptions
from vidx4.diffusion.upscaler import Upscaler
from vidx4.jobs.identity import NOTHING, Identity, identify, was_compiled
from vidx4.jobs.job import EnlargedPicture, Job, Pixels
from vidx4.jobs.noise_level import with_estimate, with_estimate_of_picture
from vidx4.jobs.part_record import Part
from vidx4.jobs.parts import Gap, gaps, make_part
from vidx4.jobs.pipeline import Model, TwoStageModel, buffered, decoded, enlarged
from vidx4.jobs.plan import Plan
from vidx4.jobs.progress import Control, Monitor
from vidx4.jobs.shots import ShotBatch
from vidx4.jobs.work_folder import WorkFolder, recorded_identity
from vidx4.temporal.state import ShotState, Upscaled


@dataclass(frozen=True)
class LocalExecutor:
    """Makes parts in this process."""

    model: Model
    device: str | torch.device = "cpu"
    """Device that the states of shots are loaded to."""

    num_workers: int = 1
    num_shots_at_once: int = 1

    def make(self, job: Job, folder: WorkFolder, monitor: Monitor) -> Generator[Part]:
        """Make the parts that a folder lacks, in order; each gap is reached from the nearest place before it.

        Raises:
            StoppedError: the control asks for it; finished parts are kept.
        """
        for gap in gaps(job.plan, folder):
            work = self._enlarged(gap, job, monitor)
            with closing(monitor.seconds.timed_items("waiting", work)) as batches:
                yield from _parts(gap, batches, job, folder, monitor)

    def _enlarged(self, gap: Gap, job: Job, monitor: Monitor) -> Generator[ShotBatch[Upscaled]]:
        state = None if gap.state is None else ShotState.load(gap.state, self.device)
        frames = decoded(job.plan, job.batch_size, gap.place, monitor)
        depth = buffered(job.plan.source, job.batch_size)
        return enlarged(self.model, frames, state, monitor.control, monitor.seconds, depth)


def _parts(
    gap: Gap, batches: Generator[ShotBatch[Upscaled]], job: Job, folder: WorkFolder, monitor: Monitor
) -> Generator[Part]:
    start, seconds = gap.start, monitor.seconds
    while start < gap.stop:
        monitor.control.check()  # checked here too: frames that were enlarged ahead need no more work
        path, num_frames = folder.part_path(start), job.chunk_frames(start)
        made = make_part(start, path, batches, num_frames, job.plan, seconds, monitor.on_advance)
        with seconds.timed("encode"):
            folder.add(made.part, None if made.state is None else made.state.save)
        monitor.control.on_part(made.part)
        yield made.part
        start = made.part.stop


def check_memory(options: UpscaleOptions, width: int, height: int) -> None:
    """Make sure, before a model is loaded, that frames can be enlarged in the memory of this machine.

    Raises:
        MemoryLimitError: they are far too large, and `ignore_memory` is not set.
        OptionError: there is no such device.
    """
    if not options.ignore_memory:
        check_size(choose_device(options.device), width, height)


@dataclass(frozen=True)
class LocalBackend:
    """A model in this process."""

    upscaler: Upscaler

    @classmethod
    def load(cls, options: UpscaleOptions) -> Self:
        """Load a model; raises as `Upscaler.from_options`."""
        return cls(Upscaler.from_options(options))

    @property
    def identity(self) -> Identity:
        """Everything that the pixels of a result depend on."""
        return self.upscaler.identity

    def with_options(self, options: UpscaleOptions) -> Self:
        """Return a backend with other options; raises as `Upscaler.with_options`."""
        return type(self)(self.upscaler.with_options(options))

    def job(self, plan: Plan, batch_size: int | None = None, known: Identity = NOTHING) -> Job:
        """Return the job of enlarging a video; arguments and errors are those of `Backend.job`."""
        source, earlier = plan.source, {**recorded_identity(plan.work_folder), **known}
        options = with_estimate(self.upscaler.options, source, plan.frames, earlier)
        size = source.width, source.height
        upscaler = self.upscaler.with_options(options)
        upscaler = upscaler.fitted(*size, plan.num_frames, batch_size, was_compiled(earlier))
        batch_size = batch_size or upscaler.fit.batch_size
        identity = identify(plan, batch_size, upscaler.identity, known)
        executor = LocalExecutor(TwoStageModel(upscaler.follow, upscaler.launch), upscaler.components.device)
        options = replace(options, model=upscaler.components.name)
        return Job(plan, executor, batch_size, identity, options, upscaler.state_spec)

    def picture(self, pixels: Pixels, control: Control) -> EnlargedPicture:
        """Enlarge a still picture four times; nothing else is done beside it."""
        control.check()
        options = with_estimate_of_picture(self.upscaler.options, pixels)
        return EnlargedPicture.by(self.upscaler.with_options(options), pixels)


class LocalLoader:
    """Loads models into this process."""

    def load(self, options: UpscaleOptions) -> LocalBackend:
        """Load a model; raises as `Upscaler.from_options`."""
        return LocalBackend.load(options)

    def card(self, options: UpscaleOptions) -> MeasureCard | None:
        """Return what measures the GPU that the options ask for; see `Loader.card`."""
        device = choose_device(options.device)
        if device.type != "cuda":
            return None
        return partial(measure_card, device, choose_dtype(options.dtype, device))


LOCAL = LocalLoader()
