"""Frames in batches that don't cross a cut."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, tee

import torch
from torch import Tensor

from vidx4.frames import FrameBatch
from vidx4.temporal.cuts import REACH, find_cuts


@dataclass(frozen=True)
class ShotBatch:
    """Consecutive frames of one shot."""

    batch: FrameBatch
    starts_shot: bool
    """Whether the first of them is the first of its shot."""
    ends_shot: bool
    """Whether the last of them is the last of its shot, or of all."""
    next_pts: int | None
    """When the frame after them is shown; None after the last of all."""


def by_shot(
    batches: Generator[FrameBatch], batch_size: int, start_pts: int | None = None
) -> Generator[ShotBatch]:
    """Divide frames anew: batches start at multiples of `batch_size` from where their shot starts.

    Args:
        batches: frames in the order in which they are shown; closed with the generator that is returned.
        batch_size: number of frames of all batches but the last of each shot.
        start_pts: where batches begin, if not with the first frame. Frames before it, `REACH` of them or
            more, are of the same shot and tell only what it looks like: cuts are found as in the whole.
    """
    with closing(batches):
        waiting: list[tuple[Tensor, int]] = []
        starts_shot = False
        for frame, pts, is_cut in _marked(batches, start_pts):
            if waiting and (is_cut or len(waiting) == batch_size):
                yield _joined(waiting, starts_shot, is_cut, pts)
                waiting = []
            if not waiting:
                starts_shot = is_cut
            waiting.append((frame, pts))
        if waiting:
            yield _joined(waiting, starts_shot, True, None)


def _marked(batches: Iterable[FrameBatch], start_pts: int | None) -> Iterator[tuple[Tensor, int, bool]]:
    """Yield each frame, its pts, and whether it is the first of a shot."""
    pairs: Iterator[tuple[Tensor, int]]
    pairs = (pair for batch in batches for pair in zip(batch.data, batch.pts, strict=True))
    past: deque[Tensor] = deque(maxlen=REACH)
    for frame, pts in pairs:
        if start_pts is None or pts >= start_pts:
            pairs = chain([(frame, pts)], pairs)
            break
        past.append(frame)
    frames, same = tee(pairs)
    cuts = find_cuts((frame for frame, _ in same), past)
    for (frame, pts), is_cut in zip(frames, cuts, strict=True):
        yield frame, pts, is_cut


def _joined(
    frames: list[tuple[Tensor, int]], starts_shot: bool, ends_shot: bool, next_pts: int | None
) -> ShotBatch:
    data, pts = zip(*frames, strict=True)
    return ShotBatch(FrameBatch(torch.stack(data), pts), starts_shot, ends_shot, next_pts)
