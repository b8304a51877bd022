"""Tiles cover a frame with no more overlap than they need, and blend without a seam."""

from itertools import pairwise, product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vidx4.diffusion.memory import TILES
from vidx4.diffusion.tiles import blend, overlap_of, spans, tile_boxes
from vidx4.frames import Box

SIDES = (8, 64, 120, 240, 360, 480, 576, 720, 1080)


@pytest.mark.parametrize("length", [1, 31, 32, 33, 56, 57, 100, 641])
def test_spans_cover_and_overlap(length: int) -> None:
    found = spans(length, size=32, overlap=8)
    assert found[0][0] == 0
    assert found[-1][1] == length
    assert len({stop - start for start, stop in found}) == 1
    assert found[0][1] <= 32
    assert all(a_stop - b_start >= 8 for (_, a_stop), (b_start, _) in pairwise(found))


@pytest.mark.parametrize("multiple", [1, 8])
def test_spans_are_as_short_as_can_be(multiple: int) -> None:
    """Spans of the next smaller length could not cover as much, nor could one fewer of full size."""
    for length in range(72, 800, 8):
        found = spans(length, size=64, overlap=16, multiple=multiple)
        side = found[0][1] - found[0][0]
        assert (len(found) - 1) * (64 - 16) + 16 < length
        assert side % multiple == 0
        assert len(found) * (side - multiple - 16) + 16 < length


def test_the_overlap_must_be_less_than_the_size() -> None:
    with pytest.raises(ValueError, match="overlap"):
        spans(100, size=16, overlap=16)


def test_the_size_must_be_a_multiple() -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        spans(100, size=20, overlap=4, multiple=8)


def share(width: int, height: int, size: int) -> float:
    """Return the pixels of all tiles over those of the frame."""
    return sum(box.area for box in tile_boxes(height, width, size, multiple=8)) / (width * height)


def test_what_common_sizes_cost_in_tiles() -> None:
    assert share(720, 576, 512) == pytest.approx(1.44, abs=0.005)
    assert share(640, 480, 512) == pytest.approx(1.20, abs=0.005)
    assert share(1280, 720, 512) == pytest.approx(1.41, abs=0.005)
    assert share(320, 240, 320) == 1


@pytest.mark.parametrize("size", [size for size in TILES if size > 64])
def test_no_frame_costs_more_than_its_overlaps(size: int) -> None:
    """Each side grows by an overlap for each tile after the first, and by less than a multiple for each."""
    for width, height in product(SIDES, SIDES):
        boxes = tile_boxes(height, width, size, multiple=8)
        columns, rows = (len({box.left for box in boxes}), len({box.top for box in boxes}))
        widths, heights = (
            side + (count - 1) * overlap_of(size) + 7 * count * (count > 1)
            for side, count in ((width, columns), (height, rows))
        )
        assert sum(box.area for box in boxes) <= widths * heights


def mapped(function: object, field: Tensor, boxes: list[Box], overlap: int, scale: int) -> Tensor:
    return blend((function(field[..., *box.slices]) for box in boxes), boxes, overlap, scale)  # type: ignore[operator]


@pytest.mark.parametrize("size", [16, 40, 200])
def test_tiles_that_do_not_depend_on_each_other_blend_into_the_whole(size: int) -> None:
    field = torch.rand(2, 3, 61, 83)
    boxes = tile_boxes(61, 83, size)
    result = mapped(lambda tile: F.interpolate(tile, scale_factor=4), field, boxes, overlap_of(size), 4)
    torch.testing.assert_close(result, F.interpolate(field, scale_factor=4), rtol=0, atol=1e-6)


def test_a_step_between_tiles_becomes_a_ramp() -> None:
    tone = iter([0.0, 1.0])
    boxes = tile_boxes(16, 28, 16)
    result = mapped(lambda tile: torch.full_like(tile, next(tone)), torch.zeros(1, 1, 16, 28), boxes, 4, 1)
    row = result[0, 0, 8]
    assert row[0] == 0
    assert row[-1] == 1
    assert (row.diff() >= 0).all()
    assert row.diff().max() < 0.5
