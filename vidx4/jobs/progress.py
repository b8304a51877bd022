"""How far a job is, where its time went, and how its caller hears of that and stops it."""

import resource
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any, TypeVar

import psutil
import torch

from vidx4.errors import StoppedError
from vidx4.jobs.work_folder import Part
from vidx4.media.damage import Damage

Item = TypeVar("Item")


@dataclass(frozen=True)
class Progress:
    """How far a job is."""

    num_done: int
    """Of its frames, those of earlier runs included."""
    num_frames: int
    num_new: int
    """Of its frames, those that this run has enlarged."""
    seconds: float
    """Since this run asked for its first frame."""
    seconds_per_frame: float
    """Of this run so far, after its first batch, in which everything warms up."""
    num_reused: float
    """How many new frames' worth of work was not done again."""
    num_shots: int
    """That this run has begun or gone on with."""
    shot_seconds: float
    """When the shot that was begun last begins, from the video's first frame; of one that an earlier run
    began, where it goes on."""
    memory: int
    """Used by the process that enlarges frames and on its GPU, in bytes."""

    @property
    def seconds_left(self) -> float:
        """If it goes on as it went."""
        return self.seconds_per_frame * (self.num_frames - self.num_done)

    @property
    def share_reused(self) -> float:
        """Of the work so far."""
        return self.num_reused / max(self.num_new, 1)


@dataclass(frozen=True)
class Advance:
    """How far a part is that is at work."""

    start: int
    """Of its first frame, the index in the source."""
    stop: int
    """Up to which frame of the source it is made."""
    num_frames: int
    """That are encoded."""
    num_reused: float
    """Of their work, how many frames' worth was not done again."""
    starts_shot: bool
    """Whether its first frame is the first of a shot."""
    pts: int
    """Of its first frame."""
    memory: int
    """Used by the process that makes it and on the GPU, in bytes."""


def _ignore(*_: object) -> None:
    pass


@dataclass(frozen=True)
class Control:
    """What a caller hears of a job, and how it stops one."""

    on_progress: Callable[[Progress], Any] = _ignore
    """Called after every batch of frames."""
    on_part: Callable[[Part], Any] = _ignore
    """Called when a part is whole, and stays even if the job ends here."""
    stop: Event = field(default_factory=Event)
    """Set from outside, it ends the job after the batch at work."""
    on_read: Callable[[], Any] = _ignore
    """Called when all frames are read and on their way to those who enlarge them, where these have room for
    another job beside this one."""

    def check(self) -> None:
        """Raise where the job is to stop.

        Raises:
            StoppedError: it is.
        """
        if self.stop.is_set():
            raise StoppedError("Stopped.")


@dataclass
class StageSeconds:
    """Where the time went: `encode`, `waiting` and `join` add up to the whole, the others overlap them.

    On a cluster, `follow`, `model` and `encode` are those of all workers together, and overlap as well.
    """

    decode: float = 0.0
    """Decoding, colours, and finding cuts, in a thread of its own."""
    follow: float = 0.0
    """Motion and noise, in a thread of its own."""
    model: float = 0.0
    """Denoising and finishing, in a thread of its own."""
    encode: float = 0.0
    """Colours, compressing, and keeping what is whole; it waits for the model."""
    waiting: float = 0.0
    """The encoder's, for the model."""
    join: float = 0.0
    """Putting parts and the other streams together, at the end."""

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count the time of a block; no two threads may time the same stage."""
        start = time.monotonic()
        try:
            yield
        finally:
            setattr(self, stage, getattr(self, stage) + time.monotonic() - start)

    def timed_items(self, stage: str, items: Generator[Item]) -> Generator[Item]:
        """Yield items, counting the time that making them takes."""
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
    """Who hears of the making of parts, and how it is stopped."""

    control: Control
    on_advance: Callable[[Advance], Any]
    damage: Damage = field(default_factory=Damage)
    """Gets to know what can't be decoded."""
    seconds: StageSeconds = field(default_factory=StageSeconds)
    """Gets to know where the time goes."""
    worker_stats: dict[str, WorkerStats] = field(default_factory=dict)
    """Records what each worker does, by its name, if there are several."""


def used_memory() -> int:
    """Return what the process uses now, and has reserved on GPUs, in bytes."""
    reserved = sum(torch.cuda.memory_reserved(index) for index in _gpus())
    return int(psutil.Process().memory_info().rss) + reserved


def peak_memory() -> int:
    """Return what the process has used at most, and has reserved on GPUs at most, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    reserved = sum(torch.cuda.max_memory_reserved(index) for index in _gpus())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit + reserved


def _gpus() -> range:
    return range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0)
