"""Cuts: where one shot ends and the next begins."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from torch import Tensor

from vidx4.temporal.cut_network import cut_score
from vidx4.temporal.likeness import MEASURES, Thumbnail, changed_blocks, may_be_unlike, unlikeness

REACH = 4
"""Number of frames on either side of a cut that are compared across it: a flash, a damaged frame or a person
passing close by is shorter."""

STANDS_OUT = 0.75
"""Least change across a cut, compared with that just before or just after it, whichever is less."""


def find_cuts(frames: Iterable[Tensor], past: Iterable[Tensor] = ()) -> Iterator[bool]:
    """Yield for each frame whether it is the first of a shot; without a past, the very first frame is.

    Several frames on either side are compared, also after compensating for motion, so that fast pans, flashes
    and damaged frames are rarely taken for cuts. Dissolves and wipes rarely are, either.

    Args:
        frames: RGB, uint8 or uint16, (3, H, W); the answer for a frame needs the `REACH - 1` after it.
        past: the frames of the same shot just before them, of which the last `REACH` count.
    """
    last = deque(map(Thumbnail.of, past), maxlen=REACH)
    for ahead in _windows(map(Thumbnail.of, frames), REACH):
        is_cut = not last or _is_cut(list(last), ahead)
        if is_cut:
            last.clear()
        last.append(ahead[0])
        yield is_cut


def _is_cut(before: Sequence[Thumbnail], after: Sequence[Thumbnail]) -> bool:
    return may_be_cut(before, after) and cut_score(describe(before, after)) > 0


def may_be_cut(before: Sequence[Thumbnail], after: Sequence[Thumbnail]) -> bool:
    """Return whether it is worth while to look closer: far fewer operations, and hardly a cut is missed."""
    last, next_ = before[-1], after[0]
    if not may_be_unlike(last, next_):
        return False
    around = [changed_blocks(*pair) for pair in (before[-2:], after[:2]) if len(pair) == 2]
    return changed_blocks(last, next_) > STANDS_OUT * min(around, default=0.0)


def describe(before: Sequence[Thumbnail], after: Sequence[Thumbnail]) -> np.ndarray:
    """Return what decides on a cut: six sets of `MEASURES`, then six numbers, float32, (N,).

    Args:
        before: the last frames, at most `REACH` of them, all of one shot.
        after: the next frames, at most `REACH` of them.
    """
    last, next_ = before[-1], after[0]
    adjacent = unlikeness(last, next_)
    later = np.stack([adjacent, *(unlikeness(last, each) for each in after[1:])])
    earlier = np.stack([adjacent, *(unlikeness(each, next_) for each in before[-2::-1])])
    none = np.zeros(len(MEASURES), np.float32)
    of_both = (len(before) / REACH, len(after) / REACH, *_tones(last), *_tones(next_))
    return np.concatenate(
        [
            adjacent,
            later.min(0),
            earlier.min(0),
            (later.sum(0) + earlier.sum(0) - adjacent) / (len(later) + len(earlier) - 1),
            unlikeness(before[-2], last) if len(before) > 1 else none,
            unlikeness(next_, after[1]) if len(after) > 1 else none,
            np.array(of_both, np.float32),
        ]
    )


def _tones(thumbnail: Thumbnail) -> tuple[float, float]:
    return float(thumbnail.luma.mean() / 255), float(thumbnail.luma.std() / 64)


Item = TypeVar("Item")


def _windows(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield each item with up to `size - 1` that follow it."""
    window: deque[Item] = deque()
    for item in items:
        window.append(item)
        if len(window) == size:
            yield list(window)
            window.popleft()
    while window:
        yield list(window)
        window.popleft()
