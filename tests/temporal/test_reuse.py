"""Changed pixels are found exactly, and boxes cover all of them."""

import pytest
import torch

from vidx4.frames import Box
from vidx4.temporal.reuse import differs, find_boxes, find_unchanged, grow


def test_equal_pixels_are_found() -> None:
    last = torch.randint(0, 255, (3, 20, 30), dtype=torch.uint8)
    frame = last.clone()
    frame[1, 4, 7] += 1
    unchanged = find_unchanged(last, frame, threshold=0)
    assert not unchanged[4, 7]
    assert unchanged.sum() == 20 * 30 - 1


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_a_threshold_is_a_mean_difference_in_eight_bit_levels(dtype: torch.dtype) -> None:
    one = 1 if dtype == torch.uint8 else 257
    last = torch.full((3, 40, 60), 100 * one, dtype=dtype)
    frame = (last.int() + one).to(dtype)
    assert find_unchanged(last, frame, threshold=1.0).all()
    assert not find_unchanged(last, frame, threshold=0.9).any()
    frame = last.clone()
    frame[:, :, 30:] = 130 * one
    near = find_unchanged(last, frame, threshold=1.0)
    assert near[:, :25].all()
    assert not near[:, 27:].any()


def test_noise_is_compared_per_low_resolution_pixel() -> None:
    last = torch.zeros(3, 4 * 5, 4 * 6)
    field = last.clone()
    field[2, 4 * 3 + 1, 4 * 2 + 3] = 1
    assert differs(last, field, 5, 6).nonzero().tolist() == [[3, 2]]


def test_masks_grow_by_rows_and_columns() -> None:
    mask = torch.zeros(20, 30, dtype=torch.bool)
    mask[10, 3] = True
    assert grow(mask, 4).nonzero().amin(0).tolist() == [6, 0]
    assert grow(mask, 4).nonzero().amax(0).tolist() == [14, 7]
    assert grow(mask, 4).sum() == 9 * 8


def test_boxes_cover_the_mask_without_touching() -> None:
    generator = torch.Generator().manual_seed(3)
    for _ in range(20):
        mask = grow(torch.rand(60, 80, generator=generator) > 0.998, 3)
        boxes = find_boxes(mask)
        cover = torch.zeros(60, 80, dtype=torch.int)
        for box in boxes:
            cover[box.slices] += 1
        assert (cover[mask] == 1).all()
        assert cover.max() <= 1


def test_an_empty_mask_has_no_boxes() -> None:
    assert find_boxes(torch.zeros(5, 5, dtype=torch.bool)) == []
    assert find_boxes(torch.ones(5, 7, dtype=torch.bool)) == [Box(0, 5, 0, 7)]
