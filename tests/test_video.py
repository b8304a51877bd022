"""Invariants of frame batches and time ranges."""

from dataclasses import replace
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


PTS, STOP = (1000, 3000, 3040, 3041, 3080), 5000
VARIABLE = replace(probe(LONDON), pts=PTS, stop_pts=STOP, time_base=Fraction(1, 1000), frame_rate=None)
"""A frame for two seconds, some short ones, and one for almost two seconds; its clock begins at 1 s."""


@pytest.mark.parametrize(
    ("start", "stop", "bounds", "frames"),
    [
        (None, None, (1000, 5000), range(5)),
        ("1", "1.5", (2000, 2500), range(1)),
        ("1", None, (2000, 5000), range(5)),
        ("2", "2.05", (3000, 3050), range(1, 4)),
        ("1.9999", "2.01", (3000, 3010), range(1, 2)),
        ("3", "9", (4000, 5000), range(4, 5)),
        ("2.01", "2.0401", (3010, 3041), range(1, 3)),
    ],
)
def test_the_frame_on_display_at_the_start_belongs_to_a_range(
    start: str | None, stop: str | None, bounds: tuple[int, int], frames: range
) -> None:
    span = TimeRange(start and Fraction(start), stop and Fraction(stop))  # type: ignore[arg-type]
    assert span.bounds(VARIABLE) == bounds
    assert span.frames(VARIABLE) == frames
    first, last = span.pts_bounds(VARIABLE)
    assert [pts for pts in PTS if first <= pts < last] == [PTS[index] for index in frames]


@pytest.mark.parametrize(("start", "stop"), [("4", None), ("9", "10"), ("1", "1"), ("1", "0.5"), ("0", "0")])
def test_a_range_without_time_holds_no_frame(start: str, stop: str | None) -> None:
    assert not TimeRange(Fraction(start), stop and Fraction(stop)).frames(VARIABLE)  # type: ignore[arg-type]


def test_less_than_a_millisecond_of_a_frame_does_not_count() -> None:
    finer = replace(
        VARIABLE, time_base=VARIABLE.time_base / 100, pts=tuple(100 * pts for pts in PTS), stop_pts=100 * STOP
    )
    span = TimeRange(Fraction("1.9995"), Fraction("2.0805"))
    assert span.bounds(finer) == (300000, 308000)
    assert span.frames(finer) == range(1, 4)
    # Frames that are shorter than that as a whole are kept.
    fast = replace(finer, pts=tuple(range(1000, 1500, 50)), stop_pts=1500)
    assert TimeRange(Fraction("0.0005"), Fraction("0.0015")).frames(fast) == range(1, 3)
