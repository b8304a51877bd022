"""A job and the protocols of those who carry it out: executors and backends."""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vidx4.diffusion.choice import MeasureCard
from vidx4.diffusion.options import ESTIMATE, UpscaleOptions
from vidx4.diffusion.upscaler import Upscaler
from vidx4.jobs.identity import NOTHING, Identity
from vidx4.jobs.part_record import Part
from vidx4.jobs.plan import Plan
from vidx4.jobs.progress import Control, Monitor
from vidx4.jobs.work_folder import WorkFolder
from vidx4.temporal.cuts import REACH
from vidx4.temporal.state_spec import StateSpec

CHUNK_FRAMES = 64
"""Approximate frames in a part, and so the most work that can be lost; each part begins with a keyframe."""

Pixels: TypeAlias = NDArray[np.uint8 | np.uint16]
"""The pixels of a still picture over the full range of their type, (H, W, C)."""


@dataclass(frozen=True)
class EnlargedPicture:
    """A still picture that was enlarged, and how much it was restored."""

    pixels: Pixels
    noise_level: int | None
    estimated_noise_level: int | None

    @classmethod
    def by(cls, upscaler: Upscaler, pixels: Pixels) -> Self:
        """Return what an upscaler makes of gray or RGB, (H, W, 1 or 3)."""
        height, width, _ = pixels.shape
        enlarged = upscaler.fitted(width, height).picture(pixels)
        return cls(enlarged, upscaler.noise_level, upscaler.estimated_noise_level)


class Executor(Protocol):
    """Makes the parts of jobs."""

    @property
    def num_workers(self) -> int:
        """How many workers there are."""

    @property
    def num_shots_at_once(self) -> int:
        """How many shots are in progress together, and so how many states wait on the disk."""

    def make(self, job: "Job", folder: WorkFolder, monitor: Monitor) -> Generator[Part]:
        """Make the parts that a folder lacks, and yield each when it is recorded there.

        Raises:
            StoppedError: the control asks for it; finished parts are kept.
        """


@dataclass(frozen=True)
class Job:
    """A plan, and the executor that carries it out."""

    plan: Plan
    executor: Executor
    batch_size: int
    """Frames that are computed together."""
    identity: Identity = field(default_factory=dict)
    """Everything that the output depends on."""
    options: UpscaleOptions = UpscaleOptions()
    """What was asked of the model, all choices made."""
    state_spec: StateSpec | None = None
    """What the state of a shot holds; None if the executor's model needs none."""

    @property
    def noise_level(self) -> int | None:
        """Noise level that all frames are restored at; None if the model knows none."""
        return _int(self.identity.get("noise-level"))

    @property
    def estimated_noise_level(self) -> int | None:
        """The estimate that the noise level follows from; None if the user chose it."""
        return _int(self.identity.get(ESTIMATE))

    def chunk_frames(self, start: int) -> int:
        """Return how many frames the chunk that begins at a frame holds, if its shot continues.

        The first is short, so that an estimate is there at once. None is shorter than the reach of cut
        detection, so that work can resume at the end of any.
        """
        num_batches = max(2, -(-REACH // self.batch_size))
        if start != self.plan.frames.start:
            num_batches = max(num_batches, CHUNK_FRAMES // self.batch_size)
        return num_batches * self.batch_size


def _int(value: object) -> int | None:
    return value if isinstance(value, int) else None


class Backend(Protocol):
    """A model with its settings, wherever it runs: makes jobs of plans, and enlarges still pictures."""

    @property
    def identity(self) -> Identity:
        """Everything that the pixels of a result depend on."""

    def with_options(self, options: UpscaleOptions) -> Self:
        """Return a backend with other options; another model is loaded only if they ask for one.

        Raises:
            ModelError: another model is not available.
            OptionError: the options don't fit the model or the device.
        """

    def job(self, plan: Plan, batch_size: int | None = None, known: Identity = NOTHING) -> Job:
        """Return the job of enlarging a video.

        Args:
            plan: what to do.
            batch_size: frames that are computed together; None to choose it by the size of the picture.
            known: the identity of an earlier job with the same source, from which its digest and the
                estimate of its noise level are taken.

        Raises:
            MemoryLimitError: nothing fits the memory that the user allows.
            SourceError: no frame can be decoded to estimate the noise level by.
        """

    def picture(self, pixels: Pixels, control: Control) -> EnlargedPicture:
        """Enlarge a still picture four times.

        Args:
            pixels: gray or RGB, (H, W, 1 or 3).
            control: is notified when there is room for others beside it.

        Raises:
            StoppedError: the control asked for it before the picture was begun.
        """


class Loader(Protocol):
    """A place where models are loaded: this process, or a cluster."""

    def load(self, options: UpscaleOptions) -> Backend:
        """Load a model.

        Raises:
            ModelError: the model is not available, or can't be loaded.
            OptionError: the options don't fit the model or the device.
            MemoryLimitError: the device has too little memory for the model.
        """

    def card(self, options: UpscaleOptions) -> MeasureCard | None:
        """Return what measures the GPU that the options ask for; None if they don't ask for one.

        Raises:
            OptionError: there is no such device.
        """
