"""Tiles cover a field, overlap as asked, and blend without a seam."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from vidx4.diffusion.tiles import map_tiles, spans


@pytest.mark.parametrize("length", [1, 31, 32, 33, 56, 57, 100, 641])
def test_spans_cover_and_overlap(length: int) -> None:
    found = spans(length, size=32, overlap=8)
    assert found[0][0] == 0
    assert found[-1][1] == length
    assert all(stop - start == min(32, length) for start, stop in found)
    assert all(a_stop - b_start >= 8 for (_, a_stop), (b_start, _) in pairwise(found))


def test_overlap_must_be_less_than_the_size() -> None:
    with pytest.raises(ValueError, match="overlap"):
        spans(100, size=16, overlap=16)


@pytest.mark.parametrize("size", [16, 40, 200])
def test_tiles_that_do_not_depend_on_each_other_blend_into_the_whole(size: int) -> None:
    field = torch.rand(2, 3, 61, 83)
    result = map_tiles(lambda tile: F.interpolate(tile, scale_factor=4), field, size, overlap=8, scale=4)
    torch.testing.assert_close(result, F.interpolate(field, scale_factor=4), rtol=0, atol=1e-6)


def test_a_step_between_tiles_becomes_a_ramp() -> None:
    tone = iter([0.0, 1.0])
    result = map_tiles(
        lambda tile: torch.full_like(tile, next(tone)), torch.zeros(1, 1, 16, 28), size=16, overlap=4, scale=1
    )
    row = result[0, 0, 8]
    assert row[0] == 0
    assert row[-1] == 1
    assert (row.diff() >= 0).all()
    assert row.diff().max() < 0.5
