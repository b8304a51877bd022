"""Decoded frames, cut into chunks that become parts."""

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vidx4.frames import Frame, FrameBatch, pixel_dtype
from vidx4.jobs.job import Job
from vidx4.jobs.parts import gaps, index_of
from vidx4.jobs.pipeline import decoded
from vidx4.jobs.progress import Monitor
from vidx4.jobs.shots import ShotBatch
from vidx4.jobs.work_folder import WorkFolder

Frames: TypeAlias = NDArray[np.uint8] | NDArray[np.uint16]
"""RGB over the full range of the type, (N, 3, H, W)."""


@dataclass(frozen=True)
class Chunk:
    """Consecutive frames of a shot that become one part; their pixels travel separately."""

    start: int
    """Index of the first frame in the source."""
    pts: tuple[int, ...]
    """Timestamp of each frame; empty if no frame from `start` on can be decoded."""
    starts_shot: bool
    ends_shot: bool
    next_pts: int | None
    """Timestamp of the frame after them; None after the last frame of all."""
    warm_up_pts: tuple[int, ...] = ()
    """Timestamps of the frames of the warm-up, whose pixels travel behind the others."""

    def batches(self, frames: Frames, batch_size: int) -> Generator[ShotBatch[FrameBatch]]:
        """Yield the frames in the batches in which they were decoded."""
        num = len(self.pts)
        shown_before = torch.from_numpy(frames[num:].copy())
        warm_up = tuple(Frame(data, pts) for data, pts in zip(shown_before, self.warm_up_pts, strict=True))
        for begin in range(0, num, batch_size):
            end = min(begin + batch_size, num)
            is_last = end == num
            yield ShotBatch(
                FrameBatch(
                    torch.from_numpy(frames[begin:end].copy()), self.pts[begin:end], () if begin else warm_up
                ),
                starts_shot=self.starts_shot and begin == 0,
                ends_shot=self.ends_shot and is_last,
                next_pts=self.next_pts if is_last else self.pts[end],
            )


@dataclass(frozen=True)
class Entry:
    """Where work on a shot starts or resumes."""

    state: Path | None
    """File with what the first frame needs of those before it; None if it needs nothing."""


def missing_chunks(
    job: Job, folder: WorkFolder, monitor: Monitor
) -> Generator[tuple[Chunk, Frames, Entry | None]]:
    """Yield the chunks that a folder lacks, in order, with an entry for each that is the first of its shot.

    The source is read once, from the first gap to the last. Chunks between gaps are skipped.

    Raises:
        StoppedError: the control asks for it.
        SourceError: the source can't be read.
    """
    left = deque(gaps(job.plan, folder))
    if not left:
        return
    batches = decoded(job.plan, job.batch_size, left[0].place, monitor)
    with closing(batches):
        for chunk, frames in _chunks(left[0].start, batches, job):
            while left and left[0].stop <= chunk.start:
                left.popleft()
            if not left:
                return
            if chunk.start == left[0].start:
                yield chunk, frames, Entry(left[0].state)
            elif chunk.start > left[0].start:
                yield chunk, frames, Entry(None) if chunk.starts_shot else None


def _chunks(start: int, batches: Iterator[ShotBatch[FrameBatch]], job: Job) -> Iterator[tuple[Chunk, Frames]]:
    """Yield all chunks from a frame on; if the last frames can't be decoded, an empty one for them."""
    waiting: list[ShotBatch[FrameBatch]] = []
    for batch in batches:
        waiting.append(batch)
        if batch.ends_shot or sum(len(each.batch) for each in waiting) >= job.chunk_frames(start):
            chunk, frames = _joined(start, waiting)
            yield chunk, frames.numpy()
            start, waiting = index_of(chunk.next_pts, job.plan), []
    if start < job.plan.frames.stop:  # parts must cover the plan to its end, or the job would never be done
        size = job.plan.source.height, job.plan.source.width
        nothing = torch.empty(0, 3, *size, dtype=pixel_dtype(job.plan.source.bit_depth))
        yield Chunk(start, (), starts_shot=False, ends_shot=True, next_pts=None), nothing.numpy()


def _joined(start: int, batches: list[ShotBatch[FrameBatch]]) -> tuple[Chunk, Tensor]:
    pts = tuple(pts for each in batches for pts in each.batch.pts)
    last = batches[-1]
    warm_up = batches[0].batch.warm_up
    warm_up_pts = tuple(frame.pts for frame in warm_up)
    chunk = Chunk(start, pts, batches[0].starts_shot, last.ends_shot, last.next_pts, warm_up_pts)
    shown_before = [frame.data[None] for frame in warm_up]
    return chunk, torch.cat([*(each.batch.data for each in batches), *shown_before])
