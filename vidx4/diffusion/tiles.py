"""Cut a frame into overlapping tiles, and blend tiles into a frame."""

from collections.abc import Iterable, Sequence
from itertools import product

import torch
from torch import Tensor

from vidx4.frames import Box

LEAST_OVERLAP = 4
"""Tiles overlap by at least one of so many parts of their greatest side, to fade into each other."""


def overlap_of(size: int) -> int:
    """Return the least overlap of adjacent tiles, by their greatest side."""
    return size // LEAST_OVERLAP


def spans(length: int, size: int, overlap: int, multiple: int = 1) -> list[tuple[int, int]]:
    """Return the fewest spans `[start, stop)` that cover a length and overlap, equal and as short as can be.

    Args:
        length: the length to cover.
        size: the greatest length of a span; if it is not less than `length`, one span covers everything.
        overlap: the least overlap of adjacent spans, less than `size`.
        multiple: number of which the length of several spans is a multiple, as is `size`.

    Raises:
        ValueError: the overlap is negative, or not less than the size, which is not a multiple.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"overlap must be in [0, {size}), got {overlap}")
    if size % multiple:
        raise ValueError(f"size must be a multiple of {multiple}, got {size}")
    if length <= size:
        return [(0, length)]
    num_spans = -(-(length - overlap) // (size - overlap))
    side = -(-(length + (num_spans - 1) * overlap) // num_spans)
    side += -side % multiple
    starts = (i * (length - side) // (num_spans - 1) for i in range(num_spans))
    return [(start, start + side) for start in starts]


def tile_boxes(height: int, width: int, size: int, multiple: int = 1) -> list[Box]:
    """Return the tiles that a frame is cut into, all of one size, row by row.

    Args:
        height: height of the frame.
        width: width of the frame.
        size: the greatest side of a tile.
        multiple: number of which the sides of tiles are multiples, as is `size`.
    """
    rows, columns = (spans(side, size, overlap_of(size), multiple) for side in (height, width))
    return [Box(*row, *column) for row, column in product(rows, columns)]


def tiling(height: int, width: int, size: int, multiple: int = 1) -> tuple[int, int]:
    """Return how many tiles `tile_boxes` would return, and the pixels of each; the arguments are the same."""
    rows, columns = (spans(side, size, overlap_of(size), multiple) for side in (height, width))
    return len(rows) * len(columns), rows[0][1] * columns[0][1]


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
