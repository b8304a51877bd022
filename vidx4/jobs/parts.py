"""The parts of a job that are missing, made one after another."""

import time
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field

import torch

from vidx4.diffusion.upscaler import Upscaler
from vidx4.jobs.folder import Part, WorkFolder
from vidx4.jobs.identity import Identity, identify
from vidx4.jobs.pipeline import Enlarge, Enlarged, Follow, Model, Place, enlarged, one_chunk
from vidx4.jobs.plan import Plan
from vidx4.jobs.progress import Control, StageSeconds
from vidx4.media.damage import Damage
from vidx4.media.encode import encode_part
from vidx4.media.whole import file_digest
from vidx4.temporal.cuts import REACH
from vidx4.temporal.state import ShotState
from vidx4.video import FrameBatch

CHUNK_FRAMES = 64
"""About how many frames a part holds, and so how much work is lost at most; each begins with a keyframe."""


@dataclass(frozen=True)
class Job:
    """A plan and what carries it out."""

    plan: Plan
    enlarge: Enlarge
    batch_size: int
    identity: Identity = field(default_factory=dict)
    """All that decides on the output."""
    device: str | torch.device = "cpu"
    """Where the states of shots belong."""
    follow: Follow | None = None
    """What is done first with the frames that are enlarged, where there is such a thing."""

    @classmethod
    def of(
        cls,
        plan: Plan,
        upscaler: Upscaler,
        batch_size: int | None = None,
        source_digest: str | None = None,
    ) -> "Job":
        """Return the job of enlarging a video.

        Args:
            plan: what is done.
            upscaler: what does it.
            batch_size: frames that are computed together; it follows from the size of the picture where None.
            source_digest: that of the source, if it is known.
        """
        upscaler = upscaler.fitted(plan.source.width, plan.source.height, plan.num_frames, batch_size)
        batch_size = batch_size or upscaler.fit.batch_size
        identity = identify(plan, batch_size, upscaler.identity, source_digest)
        return cls(plan, upscaler, batch_size, identity, upscaler.components.device, upscaler.follow)

    def chunk_frames(self, start: int) -> int:
        """Return after how many frames the chunk that begins at a frame ends, if its shot goes on.

        The first is short: it tells at once how long the others will take. None is shorter than what cuts are
        found by, so that work can go on at the end of any.
        """
        num_batches = max(2, -(-REACH // self.batch_size))
        if start != self.plan.frames.start:
            num_batches = max(num_batches, CHUNK_FRAMES // self.batch_size)
        return num_batches * self.batch_size


OnBatch = Callable[[Enlarged, int], None]
"""Told of frames that are encoded, and up to which frame of the source all is done then."""


def make_parts(
    job: Job,
    folder: WorkFolder,
    control: Control,
    seconds: StageSeconds,
    on_batch: OnBatch,
    damage: Damage,
) -> Generator[Part]:
    """Make the parts that a folder lacks, in order, each from the nearest place from which it can be reached.

    Raises:
        StoppedError: the control said so; what is whole is kept.
    """
    while (gap := _first_gap(job.plan, folder)) is not None:
        start, place = _place_before(gap.start, job, folder)
        model = Model(job.enlarge, job.follow)
        work = enlarged(job.plan, model, job.batch_size, place, control, seconds, damage)
        with closing(seconds.timed_items("waiting", work)) as batches:
            while start < gap.stop:
                control.check()  # some frames may be enlarged ahead already
                part = _make_part(start, batches, job, folder, seconds, on_batch)
                control.on_part(part)
                yield part
                start = part.stop


def _first_gap(plan: Plan, folder: WorkFolder) -> range | None:
    """Return the first frames that no part covers."""
    start = plan.frames.start
    while start in folder.parts:
        start = folder.parts[start].stop
    stop = min((other for other in folder.parts if other > start), default=plan.frames.stop)
    return range(start, stop) if start < stop else None


def _place_before(start: int, job: Job, folder: WorkFolder) -> tuple[int, Place]:
    """Return the frame from which another can be reached: itself, if the state of its shot is there."""
    pts = job.plan.source.pts
    by_stop = {part.stop: part for part in folder.parts.values()}
    while (before := by_stop.get(start)) is not None and not before.ends_shot:
        with suppress(LookupError):
            return start, Place(pts[start], pts[before.start], folder.load_state(before, job.device))
        start = before.start
    return start, Place(pts[start], pts[start])


def _make_part(
    start: int,
    batches: Iterator[Enlarged],
    job: Job,
    folder: WorkFolder,
    seconds: StageSeconds,
    on_batch: OnBatch,
) -> Part:
    begun, waited = time.monotonic(), seconds.waiting
    chunk = _Chunk(job.plan, on_batch)
    path = folder.part_path(start)
    frames = chunk.take(batches, job.chunk_frames(start))
    encode_part(path, frames, job.plan.source, job.plan.written.target)
    part = Part(
        start=start,
        stop=chunk.stop,
        num_frames=chunk.num_frames,
        num_reused=chunk.num_reused,
        starts_shot=chunk.starts_shot,
        ends_shot=chunk.ends_shot,
        seconds=time.monotonic() - begun,
        size=path.stat().st_size,
        digest=file_digest(path),
    )
    folder.add(part, None if part.ends_shot else chunk.state)
    seconds.encode += time.monotonic() - begun - (seconds.waiting - waited)
    return part


class _Chunk:
    """Counts what goes into a part."""

    def __init__(self, plan: Plan, on_batch: OnBatch) -> None:
        self._plan = plan
        self._on_batch = on_batch
        self.num_frames = 0
        self.num_reused = 0.0
        self.starts_shot = self.ends_shot = False
        self.stop = plan.frames.stop
        self.state: ShotState | None = None

    def take(self, batches: Iterator[Enlarged], num_frames: int) -> Iterator[FrameBatch]:
        """Take frames for one part, at most so many but for the last batch."""
        for batch, upscaled in one_chunk(batches, num_frames):
            self.starts_shot |= batch.starts_shot
            self.ends_shot, self.state = batch.ends_shot, upscaled.state
            self.stop = self._index(batch.next_pts)
            self.num_frames += len(batch.batch)
            self.num_reused += upscaled.num_reused
            yield upscaled.batch
            self._on_batch(Enlarged(batch, upscaled), self.stop)

    def _index(self, pts: int | None) -> int:
        return self._plan.frames.stop if pts is None else bisect_left(self._plan.source.pts, pts)
