"""Progress of a job, the time its stages take, and how a caller is notified of both and stops it."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psutil
import torch

from vidx4.diffusion import host
from vidx4.jobs.part_record import Part
from vidx4.jobs.stop import Stop
from vidx4.media.damage import Damage
from vidx4.working_time import working_seconds

Item = TypeVar("Item")


@dataclass(frozen=True)
class Progress:
    """Progress of a job."""

    num_done: int
    """Number of finished frames, those of earlier runs included."""
    num_frames: int
    num_new: int
    """Number of frames that this run has enlarged."""
    seconds: float
    """Seconds since this run asked for its first frame."""
    seconds_per_frame: float
    """Seconds per frame of this run so far, without its first batch, in which everything warms up."""
    num_reused: float
    """Work of this run that was reused from earlier frames, in frames."""
    num_shots: int
    """Number of shots that this run has started or resumed."""
    shot_seconds: float
    """Where the latest shot starts or, if an earlier run started it, resumes: seconds from the video's first
    frame."""
    memory: int
    """Memory used by the process that enlarges frames, and on its GPU, in bytes."""

    @property
    def seconds_left(self) -> float:
        """Estimated seconds until all frames are done, at the speed so far."""
        return self.seconds_per_frame * (self.num_frames - self.num_done)

    @property
    def share_reused(self) -> float:
        """Share of this run's work that was reused from earlier frames."""
        return self.num_reused / max(self.num_new, 1)

    def facts(self) -> dict[str, Any]:
        """Return how much is done, as JSON values."""
        return {
            "num_done": self.num_done,
            "num_frames": self.num_frames,
            "frames_per_second": round(1 / self.seconds_per_frame, 4),
            "seconds_left": round(self.seconds_left, 1),
            "share_reused": round(self.share_reused, 4),
            "memory": self.memory,
            "num_shots": self.num_shots,
            "shot_seconds": round(self.shot_seconds, 3),
        }


@dataclass(frozen=True)
class Advance:
    """Progress of one unfinished part."""

    start: int
    """Index in the source of the first frame."""
    stop: int
    """Index in the source of the next frame to be made."""
    num_frames: int
    """Number of encoded frames."""
    num_reused: float
    """Work that was reused from earlier frames, in frames."""
    starts_shot: bool
    """Whether the first frame is the first of a shot."""
    pts: int
    """Presentation time of the first frame."""
    memory: int
    """Memory used by the process that makes the part, and on its GPU, in bytes."""


def _ignore(*_: object) -> None:
    pass


@dataclass(frozen=True)
class Control:
    """How a caller is notified of a job's progress, and stops the job."""

    on_progress: Callable[[Progress], Any] = _ignore
    """Called after every batch of frames."""
    on_part: Callable[[Part], Any] = _ignore
    """Called when a part is recorded, and kept whatever happens next."""
    stop: Stop = field(default_factory=Stop)
    """Stops or pauses the job after the current batch."""
    on_read: Callable[[], Any] = _ignore
    """Called when all frames are read and handed to the workers of a cluster, which then have room for
    another job beside this one."""

    def check(self) -> None:
        """Wait while the job is paused, and raise if it should stop.

        Raises:
            StoppedError: `stop` is set.
        """
        self.stop.check()


@dataclass
class StageSeconds:
    """Seconds that each stage took: `encode`, `waiting` and `join` add up to the total; others overlap them.

    On a cluster, `follow`, `model` and `encode` are the sums over all workers, and overlap as well.
    """

    decode: float = 0.0
    """Decoding, converting colours and finding cuts, in a separate thread."""
    follow: float = 0.0
    """Estimating motion and moving noise, in a separate thread."""
    model: float = 0.0
    """Denoising and finishing, in a separate thread."""
    encode: float = 0.0
    """Converting colours, encoding and recording parts."""
    waiting: float = 0.0
    """Waiting of the encoder for the model."""
    join: float = 0.0
    """Joining the parts and the other streams at the end."""

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of a block to a stage; no two threads may time the same stage."""
        start = working_seconds()
        try:
            yield
        finally:
            setattr(self, stage, getattr(self, stage) + working_seconds() - start)

    def timed_items(self, stage: str, items: Generator[Item]) -> Generator[Item]:
        """Yield items, and add the time that making them takes to a stage."""
        with closing(items):
            while True:
                with self.timed(stage):
                    item = next(items, None)
                if item is None:
                    return
                yield item


@dataclass
class WorkerStats:
    """What one worker of several has done."""

    num_frames: int = 0
    model_seconds: float = 0.0
    """Seconds its model worked."""
    peak_memory: int = 0
    """Most memory used by its process and reserved on its GPU, in bytes."""


@dataclass(frozen=True)
class Monitor:
    """What an executor reports to while it makes parts, and what stops it."""

    control: Control
    on_advance: Callable[[Advance], Any]
    damage: Damage = field(default_factory=Damage)
    """Record of what can't be decoded."""
    seconds: StageSeconds = field(default_factory=StageSeconds)
    """Record of the time that each stage takes."""
    worker_stats: dict[str, WorkerStats] = field(default_factory=dict)
    """What each worker does, by its name; empty without a cluster."""


def used_memory() -> int:
    """Return the memory that the process uses, and has reserved on GPUs, in bytes."""
    reserved = sum(torch.cuda.memory_reserved(index) for index in _gpus())
    return int(psutil.Process().memory_info().rss) + reserved


def peak_memory() -> int:
    """Return the peak memory of the process, and of its reservations on GPUs, in bytes."""
    return host.peak_memory() + sum(torch.cuda.max_memory_reserved(index) for index in _gpus())


def _gpus() -> range:
    return range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)
