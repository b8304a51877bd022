"""Frames in batches that don't cross a cut."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import tee

import torch
from torch import Tensor

from vidx4.temporal.cuts import find_cuts
from vidx4.video import FrameBatch


@dataclass(frozen=True)
class ShotBatch:
    """Consecutive frames of one shot."""

    batch: FrameBatch
    starts_shot: bool
    """Whether the first of them is the first of its shot."""


def by_shot(batches: Generator[FrameBatch], batch_size: int) -> Generator[ShotBatch]:
    """Divide frames anew: batches start at multiples of `batch_size` from where their shot starts.

    Args:
        batches: frames in the order in which they are shown; closed with the generator that is returned.
        batch_size: number of frames of all batches but the last of each shot.
    """
    with closing(batches):
        waiting: list[tuple[Tensor, int]] = []
        starts_shot = True
        for frame, pts, is_cut in _marked(batches):
            if waiting and (is_cut or len(waiting) == batch_size):
                yield _joined(waiting, starts_shot)
                waiting, starts_shot = [], is_cut
            waiting.append((frame, pts))
        if waiting:
            yield _joined(waiting, starts_shot)


def _marked(batches: Iterable[FrameBatch]) -> Iterator[tuple[Tensor, int, bool]]:
    """Yield each frame, its pts, and whether it is the first of a shot."""
    frames, same = tee(pair for batch in batches for pair in zip(batch.data, batch.pts, strict=True))
    cuts = find_cuts(frame for frame, _ in same)
    for (frame, pts), is_cut in zip(frames, cuts, strict=True):
        yield frame, pts, is_cut


def _joined(frames: list[tuple[Tensor, int]], starts_shot: bool) -> ShotBatch:
    data, pts = zip(*frames, strict=True)
    return ShotBatch(FrameBatch(torch.stack(data), pts), starts_shot)
