"""Moments by which to judge a film: from different shots, and sharp."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vidx4.frames import Frame
from vidx4.media.decode import can_seek, read_frames
from vidx4.video import Source, TimeRange

NUM_CANDIDATES = 5
"""Frames that are considered for each moment."""
NUM_LEVELS = 8
LIKENESS = 0.7
"""Share of their palettes above which two frames count as the same shot."""


@dataclass(frozen=True)
class _Candidate:
    index: int
    sharpness: float
    palette: Tensor
    """Shares of the picture by level of red, of green and of blue; each of the three sums to 1."""

    def is_like(self, other: "_Candidate") -> bool:
        return float(torch.minimum(self.palette, other.palette).sum()) / 3 > LIKENESS


def choose_moments(source: Source, num_moments: int, frames: range | None = None) -> list[int]:
    """Return the indices of frames that show what a film looks like, in order.

    The film is divided into stretches of equal length, one for each moment. From each stretch comes the
    sharpest of a few frames that look like none chosen before or, if all do, the sharpest of them.

    Args:
        source: the film.
        num_moments: how many; fewer are returned if there are fewer frames.
        frames: the frames to choose from; None for all.
    """
    frames = frames or range(source.num_frames)
    num_moments = min(num_moments, len(frames))
    chosen: list[_Candidate] = []
    for candidates in _stretches(source, frames, num_moments):
        others = [each for each in candidates if not any(each.is_like(other) for other in chosen)]
        if best := max(others or candidates, key=lambda each: each.sharpness, default=None):
            chosen.append(best)
    return sorted({candidate.index for candidate in chosen})


def _stretches(source: Source, frames: range, num_stretches: int) -> Iterator[list[_Candidate]]:
    per_stretch = min(NUM_CANDIDATES, len(frames) // num_stretches)
    num_candidates = num_stretches * per_stretch
    indices = [frames[(2 * i + 1) * len(frames) // (2 * num_candidates)] for i in range(num_candidates)]
    found = {candidate.index: candidate for candidate in _candidates(source, indices)}
    for start in range(0, num_candidates, per_stretch):
        yield [found[index] for index in indices[start : start + per_stretch] if index in found]


def _candidates(source: Source, indices: Sequence[int]) -> Iterator[_Candidate]:
    """Measure frames; those that can't be decoded are dropped."""
    for frame in read_moments(source, indices):
        index = bisect_left(source.pts, frame.pts)
        yield _Candidate(index, _sharpness(frame.data), _palette(frame.data))


def read_moments(source: Source, indices: Sequence[int]) -> Iterator[Frame]:
    """Yield the frames at ascending indices; in place of one that can't be decoded, a later one may come."""
    if can_seek(source):
        for index in indices:
            yield next(read_frames(source, TimeRange(start=source.seconds_of(source.pts[index]))))
    else:
        wanted = {source.pts[index] for index in indices}
        yield from read_frames(source, wants=wanted.__contains__)


def timecode(seconds: float) -> str:
    """Format a time as h:mm:ss.s."""
    minutes, rest = divmod(round(10 * seconds), 600)
    return f"{minutes // 60}:{minutes % 60:02}:{rest / 10:04.1f}"


def _sharpness(frame: Tensor) -> float:
    """Return the mean difference of neighbouring pixels, in [0, 1]; large ones are capped."""
    luma = frame.float().mean(dim=0) / torch.iinfo(frame.dtype).max
    steps = F.pad(luma.diff(dim=0).abs(), (0, 0, 0, 1)) + F.pad(luma.diff(dim=1).abs(), (0, 1))
    return float(steps.clamp(max=0.25).mean())


def _palette(frame: Tensor) -> Tensor:
    levels = frame.float() / torch.iinfo(frame.dtype).max
    counts = [torch.histc(channel, NUM_LEVELS, 0, 1) for channel in levels]
    return torch.cat(counts) / levels[0].numel()
