"""Cut a field into overlapping tiles and blend them back."""

from collections.abc import Callable, Iterator
from itertools import product

import torch
from torch import Tensor


def spans(length: int, size: int, overlap: int) -> list[tuple[int, int]]:
    """Return the fewest `[start, stop)` of equal size that cover a length and overlap at least so much.

    Args:
        length: of what is covered.
        size: of a span; one span covers everything where it is not less than `length`.
        overlap: of neighbours, less than `size`.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"overlap must be in [0, {size}), got {overlap}")
    if length <= size:
        return [(0, length)]
    num_spans = -(-(length - overlap) // (size - overlap))
    starts = (i * (length - size) // (num_spans - 1) for i in range(num_spans))
    return [(start, start + size) for start in starts]


def map_tiles(
    function: Callable[[Tensor], Tensor], field: Tensor, size: int, overlap: int, scale: int
) -> Tensor:
    """Apply a function tile by tile and blend the results where tiles overlap.

    Args:
        function: from (N, C, h, w) to (N, D, scale h, scale w).
        field: (N, C, H, W).
        size: of a tile along each side, in pixels of `field`.
        overlap: of neighbouring tiles; the blend is a raised cosine over it.
        scale: pixels of the result per pixel of `field`, along each side.

    Returns:
        float32 on the device of `field`, (N, D, scale H, scale W).
    """
    blend: Tensor | None = None
    weights = torch.zeros(1, 1, *(scale * side for side in field.shape[2:]), device=field.device)
    for (top, bottom), (left, right) in _grid(field, size, overlap):
        tile = function(field[..., top:bottom, left:right]).float()
        if blend is None:
            blend = tile.new_zeros(*tile.shape[:2], *weights.shape[2:])
        window = _window(tile, ramp=scale * overlap)
        place = (..., slice(scale * top, scale * bottom), slice(scale * left, scale * right))
        blend[place] += window * tile
        weights[place] += window
    assert blend is not None
    return blend / weights


def _grid(field: Tensor, size: int, overlap: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    rows, columns = (spans(side, size, overlap) for side in field.shape[2:])
    return product(rows, columns)


def _window(tile: Tensor, ramp: int) -> Tensor:
    rows, columns = (_raised_cosine(side, ramp).to(tile.device) for side in tile.shape[2:])
    return rows[:, None] * columns[None, :]


def _raised_cosine(length: int, ramp: int) -> Tensor:
    """Return weights that rise from almost 0 over `ramp` pixels at both ends, positive everywhere."""
    from_edge = torch.arange(length) + 0.5
    from_edge = torch.minimum(from_edge, length - from_edge)
    return 0.5 - 0.5 * torch.cos(torch.pi * (from_edge / max(ramp, 1)).clamp(max=1))
