"""Invariants of frame batches and time ranges."""

from fractions import Fraction
from pathlib import Path

import pytest
import torch

from vidx4.frames import FrameBatch
from vidx4.media.probe import probe
from vidx4.video import TimeRange

LONDON = Path(__file__).parent.parent / "samples" / "london.mp4"


@pytest.mark.parametrize(
    ("data", "pts", "message"),
    [
        (torch.zeros(3, 4, 4, dtype=torch.uint8), (0,), r"\(N, 3, H, W\)"),
        (torch.zeros(1, 4, 4, 4, dtype=torch.uint8), (0,), r"\(N, 3, H, W\)"),
        (torch.zeros(1, 3, 4, 4), (0,), "uint8 or uint16"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), (0,), "2 .* 1 "),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), (5, 5), r"\(5, 5\)"),
    ],
)
def test_an_inconsistent_batch_is_refused(data: torch.Tensor, pts: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrameBatch(data, pts)


def test_a_range_is_half_open_and_counts_from_the_first_frame() -> None:
    source = probe(LONDON)
    second = int(1 / source.time_base)
    assert TimeRange().pts_bounds(source) == (source.pts[0], source.stop_pts)
    assert TimeRange(Fraction(1)).pts_bounds(source) == (source.pts[0] + second, source.stop_pts)
    assert TimeRange(None, Fraction(99)).pts_bounds(source) == (source.pts[0], source.stop_pts)
    assert TimeRange(None, Fraction(1)).pts_bounds(source) == (source.pts[0], source.pts[0] + second)
