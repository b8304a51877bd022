"""Cut a field into overlapping tiles, and blend tiles into a field."""

from collections.abc import Callable, Iterable, Sequence
from itertools import product

import torch
from torch import Tensor

from vidx4.frames import Box


def spans(length: int, size: int, overlap: int) -> list[tuple[int, int]]:
    """Return the fewest spans `[start, stop)` of equal size that cover a length and overlap.

    Args:
        length: the length to cover.
        size: the length of a span; if it is not less than `length`, one span covers everything.
        overlap: the least overlap of adjacent spans, less than `size`.

    Raises:
        ValueError: the overlap is negative, or not less than the size.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"overlap must be in [0, {size}), got {overlap}")
    if length <= size:
        return [(0, length)]
    num_spans = -(-(length - overlap) // (size - overlap))
    starts = (i * (length - size) // (num_spans - 1) for i in range(num_spans))
    return [(start, start + size) for start in starts]


def tile_boxes(field: Tensor, size: int, overlap: int) -> list[Box]:
    """Return tiles of one size that cover a field, (..., H, W), row by row; see `spans`."""
    rows, columns = (spans(side, size, overlap) for side in field.shape[-2:])
    return [Box(*row, *column) for row, column in product(rows, columns)]


def map_tiles(
    function: Callable[[Tensor], Tensor], field: Tensor, size: int, overlap: int, scale: int
) -> Tensor:
    """Apply a function tile by tile, and blend the results where tiles overlap.

    Args:
        function: a function from (N, C, h, w) to (N, D, scale h, scale w).
        field: the field to cut into tiles, (N, C, H, W).
        size: the side of a tile, in pixels of `field`.
        overlap: the least overlap of adjacent tiles, in pixels of `field`.
        scale: pixels of the result per pixel of `field`, along each side.

    Returns:
        The blended results, float32 on the device of `field`, (N, D, scale H, scale W).
    """
    boxes = tile_boxes(field, size, overlap)
    return blend((function(field[..., *box.slices]) for box in boxes), boxes, overlap, scale)


def blend(tiles: Iterable[Tensor], boxes: Sequence[Box], overlap: int, scale: int) -> Tensor:
    """Put tiles together, blended by a raised cosine where they overlap.

    Args:
        tiles: a tile for each box, (..., scale h, scale w).
        boxes: the places of the tiles, from `tile_boxes`.
        overlap: the least overlap of adjacent boxes.
        scale: pixels of a tile per pixel of its box, along each side.

    Returns:
        The field, float32 on the device of the tiles, (..., scale H, scale W).
    """
    blended, weights = None, None
    for tile, box in zip(tiles, boxes, strict=True):
        if blended is None or weights is None:
            size = scale * boxes[-1].bottom, scale * boxes[-1].right
            blended = tile.new_zeros(*tile.shape[:-2], *size, dtype=torch.float32)
            weights = blended.new_zeros(size)
        window = _window(tile, ramp=scale * overlap)
        place = box.scaled(scale).slices
        blended[..., *place] += window * tile
        weights[place] += window
    assert blended is not None
    assert weights is not None
    return blended / weights


def _window(tile: Tensor, ramp: int) -> Tensor:
    """Return the weights of a tile's pixels, (H, W)."""
    rows, columns = (_raised_cosine(side, ramp).to(tile.device) for side in tile.shape[-2:])
    return rows[:, None] * columns[None, :]


def _raised_cosine(length: int, ramp: int) -> Tensor:
    """Return weights that rise over `ramp` pixels at both ends, positive everywhere, (length,)."""
    from_edge = torch.arange(length) + 0.5
    from_edge = torch.minimum(from_edge, length - from_edge)
    return 0.5 - 0.5 * torch.cos(torch.pi * (from_edge / max(ramp, 1)).clamp(max=1))
