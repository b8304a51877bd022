"""Moments of a film by which to judge it: of different shots, and sharp."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from vidx4.media.decode import can_seek, read_batches
from vidx4.video import Source, TimeRange

NUM_CANDIDATES = 5
"""That are looked at for each moment."""
NUM_LEVELS = 8
LIKENESS = 0.7
"""Share of the palette that frames of one shot have in common, or more."""


@dataclass(frozen=True)
class _Candidate:
    index: int
    sharpness: float
    palette: Tensor
    """Shares of the picture by level of red, green and blue; each sums to 1."""

    def is_like(self, other: "_Candidate") -> bool:
        return float(torch.minimum(self.palette, other.palette).sum()) / 3 > LIKENESS


def choose_moments(source: Source, num_moments: int, frames: range | None = None) -> list[int]:
    """Return the indices of frames that show what a film is like, in order.

    The film is divided into as many stretches of equal length; from each comes the sharpest of a few frames
    that look like none chosen before or, where all do, the sharpest of all.

    Args:
        source: the film.
        num_moments: number of frames wanted; a film with fewer frames gives fewer.
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
    """Look at frames; those that can't be decoded are left out."""
    for frame, pts in _frames(source, indices):
        yield _Candidate(bisect_left(source.pts, pts), _sharpness(frame), _palette(frame))


def _frames(source: Source, indices: Sequence[int]) -> Iterator[tuple[Tensor, int]]:
    if can_seek(source):
        for index in indices:
            span = TimeRange(start=seconds_of(source, index))
            for batch in read_batches(source, 1, span):
                yield batch.data[0], batch.pts[0]
                break
    else:
        wanted = {source.pts[index] for index in indices}
        for batch in read_batches(source, 1, wants=wanted.__contains__):
            yield batch.data[0], batch.pts[0]


def seconds_of(source: Source, index: int) -> Fraction:
    """Return when a frame is shown, in seconds from the first."""
    return (source.pts[index] - source.pts[0]) * source.time_base


def timecode(seconds: float) -> str:
    """Write a place in a film as h:mm:ss.s."""
    minutes, rest = divmod(round(10 * seconds), 600)
    return f"{minutes // 60}:{minutes % 60:02}:{rest / 10:04.1f}"


def _sharpness(frame: Tensor) -> float:
    """Return the mean of the steps between neighbouring pixels, of 1; very large ones count less."""
    luma = frame.float().mean(dim=0) / torch.iinfo(frame.dtype).max
    steps = F.pad(luma.diff(dim=0).abs(), (0, 0, 0, 1)) + F.pad(luma.diff(dim=1).abs(), (0, 1))
    return float(steps.clamp(max=0.25).mean())


def _palette(frame: Tensor) -> Tensor:
    levels = frame.float() / torch.iinfo(frame.dtype).max
    counts = [torch.histc(channel, NUM_LEVELS, 0, 1) for channel in levels]
    return torch.cat(counts) / levels[0].numel()
