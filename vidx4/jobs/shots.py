"""Batches of frames that don't cross a cut."""

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice, takewhile, tee
from typing import Generic, TypeVar

from torch import Tensor

from vidx4.frames import Frame, FrameBatch
from vidx4.temporal.cuts import REACH, find_cuts
from vidx4.temporal.follow import FollowedBatch
from vidx4.temporal.state import Upscaled
from vidx4.temporal.warm_up import NUM_WARM_UP, warm_up_of

Batch = TypeVar("Batch", bound=FrameBatch | FollowedBatch | Upscaled)
"""A batch of frames as the decoder, motion estimation, and the model leave it."""
Result = TypeVar("Result", bound=FrameBatch | FollowedBatch | Upscaled)


@dataclass(frozen=True)
class ShotBatch(Generic[Batch]):
    """Consecutive frames of one shot, and their place in it; each stage replaces the batch by its result."""

    batch: Batch
    starts_shot: bool
    """Whether the first frame is the first of its shot."""
    ends_shot: bool
    """Whether the last frame is the last of its shot, or of the video."""
    next_pts: int | None
    """Presentation time of the frame after the batch; None after the last frame of the video."""

    def replaced(self, batch: Result) -> "ShotBatch[Result]":
        """Return what a stage has made of the batch, at the same place."""
        return ShotBatch(batch, self.starts_shot, self.ends_shot, self.next_pts)


def by_shot(
    frames: Generator[Frame], batch_size: int, start_pts: int | None = None
) -> Generator[ShotBatch[FrameBatch]]:
    """Batch frames along shots: batches start at multiples of `batch_size` from the start of their shot.

    Args:
        frames: frames in presentation order; closed with the returned generator.
        batch_size: the number of frames of all batches but the last of each shot.
        start_pts: the pts of the first frame to return; None for the first frame of all. Frames before it,
            at least `REACH` of them, must be of the same shot: with them, cuts are found as in the whole
            video.
    """
    with closing(frames):
        waiting: list[Frame] = []
        warm_up: tuple[Frame, ...] = ()
        starts_shot = False
        for frame, is_cut, following in _with_following(_marked(frames, start_pts)):
            if waiting and (is_cut or len(waiting) == batch_size):
                yield ShotBatch(FrameBatch.of(waiting, warm_up), starts_shot, is_cut, frame.pts)
                waiting = []
            if not waiting:
                starts_shot = is_cut
                warm_up = warm_up_of(following) if is_cut else ()
            waiting.append(frame)
        if waiting:
            yield ShotBatch(FrameBatch.of(waiting, warm_up), starts_shot, ends_shot=True, next_pts=None)


def _with_following(marked: Iterator[tuple[Frame, bool]]) -> Iterator[tuple[Frame, bool, list[Frame]]]:
    """Yield each frame, whether it is the first of a shot, and those of the shot that follow it, a few."""
    window = deque(islice(marked, 1 + NUM_WARM_UP))
    while window:
        frame, is_cut = window.popleft()
        yield frame, is_cut, [each for each, _ in takewhile(lambda later: not later[1], window)]
        window.extend(islice(marked, 1))


def _marked(frames: Iterator[Frame], start_pts: int | None) -> Iterator[tuple[Frame, bool]]:
    """Yield each frame, and whether it is the first of a shot."""
    past: deque[Tensor] = deque(maxlen=REACH)
    for frame in frames:
        if start_pts is None or frame.pts >= start_pts:
            frames = chain([frame], frames)
            break
        past.append(frame.data)
    # Finding cuts looks a few frames ahead; `tee` keeps these.
    frames, same = tee(frames)
    yield from zip(frames, find_cuts((frame.data for frame in same), past), strict=True)
