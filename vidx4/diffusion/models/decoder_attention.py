"""Attention in an autoencoder's decoder: to latents nearby one by one, to those far away in cells."""

from dataclasses import dataclass
from itertools import product
from math import ceil, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class AttentionReach:
    """How much of a field a query sees latent by latent, and how coarsely it sees the rest.

    The number of keys of a query is `near` and the number of cells beyond. So a larger field never costs
    less, and as the cells are those of the UNet's own attention, whose sides are eight pixels, decoding never
    costs more than a third of 20 steps, whatever the size.
    """

    near: int = 320 * 240
    """Number of latents around a query that it sees one by one, at least; a field of no more is attended to
    exactly."""
    block: int = 64
    """Side of a block of queries, which see the same keys, in latents; at most the square root of `near`."""
    pool: int = 8
    """Side of the cells that the rest of the field is seen in, in latents."""

    def covers(self, height: int, width: int) -> bool:
        """Return whether attention over a field of this size is exact."""
        return self.window(height, width) == (height, width)

    def window(self, height: int, width: int) -> tuple[int, int]:
        """Return the sides of the window that a query of a field sees one by one: a square if it can be."""
        rows = min(height, self._whole_cells(max(sqrt(self.near), self.near / width)))
        return rows, min(width, self._whole_cells(self.near / rows))

    def _whole_cells(self, side: float) -> int:
        return ceil(side / self.pool) * self.pool


def attend(query: Tensor, key: Tensor, value: Tensor, reach: AttentionReach) -> Tensor:
    """Attend to a whole field: exactly if it is small enough, otherwise near and far.

    Args:
        query: queries, (1, C, H, W).
        key: keys, same shape.
        value: values, same shape.
        reach: up to which size attention is exact, and how it is approximated.

    Returns:
        The attended values, (1, C, H, W).
    """
    if not reach.covers(*query.shape[2:]):
        return attend_near_and_far(query, key, value, reach)
    result = F.scaled_dot_product_attention(_flatten(query), _flatten(key), _flatten(value))
    return _unflatten(result, query)


def _flatten(x: Tensor) -> Tensor:
    """Return a field as a sequence, from (1, C, H, W) to (1, 1, H * W, C)."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)[None]


def _unflatten(x: Tensor, like: Tensor) -> Tensor:
    return x[0].transpose(1, 2).view_as(like)


def attend_near_and_far(query: Tensor, key: Tensor, value: Tensor, reach: AttentionReach) -> Tensor:
    """Attend to the latents of a window one by one, and to the means of cells of those outside; see `attend`.

    The windows of all blocks have the same size: at the edges of the field they are moved, not cut.
    """
    attended = torch.empty_like(query)
    far_key, far_value = (F.avg_pool2d(x, reach.pool, ceil_mode=True) for x in (key, value))
    # Cells at the bottom and right may be smaller; a divisor of 1 gives sums, here the latents in each cell.
    cell_sizes = F.avg_pool2d(torch.ones_like(key[:, :1]), reach.pool, ceil_mode=True, divisor_override=1)
    sides = reach.window(*query.shape[2:])
    for top, left in product(*(range(0, side, reach.block) for side in query.shape[2:])):
        block = (..., slice(top, top + reach.block), slice(left, left + reach.block))
        rows, columns = map(_window, (top, left), sides, query.shape[2:], 2 * [reach])
        near_key, near_value = (_flatten(x[..., rows, columns]) for x in (key, value))
        far_keys, far_values, sizes = (
            _outside(x, _cells(rows, reach), _cells(columns, reach)) for x in (far_key, far_value, cell_sizes)
        )
        result = _attend_weighted(
            _flatten(query[block]),
            torch.cat([near_key, far_keys], dim=2),
            torch.cat([near_value, far_values], dim=2),
            F.pad(sizes.log(), (0, 0, near_key.shape[2], 0)),
        )
        attended[block] = _unflatten(result, query[block])
    return attended


def _window(start: int, side: int, length: int, reach: AttentionReach) -> slice:
    """Return the window of a block that starts here, along one axis: from a cell's edge to a cell's edge."""
    centred = max(0, start + (reach.block - side) // 2)
    first = min(centred, length - side) // reach.pool * reach.pool
    stop = first + side
    return slice(first, length if length - stop < reach.pool else stop)


def _cells(latents: slice, reach: AttentionReach) -> slice:
    """Return the cells of a range of latents, which begins and ends at the edges of cells."""
    return slice(latents.start // reach.pool, -(-latents.stop // reach.pool))


def _outside(cells: Tensor, rows: slice, columns: slice) -> Tensor:
    """Return the cells outside a window as a sequence, from (1, C, h, w) to (1, 1, N, C)."""
    # By slices: a mask would have the host wait for the device to count its elements.
    above, middle, below = cells[..., : rows.start, :], cells[..., rows, :], cells[..., rows.stop :, :]
    left, right = middle[..., : columns.start], middle[..., columns.stop :]
    return torch.cat([_flatten(part) for part in (above, left, right, below)], dim=2)


def _attend_weighted(query: Tensor, key: Tensor, value: Tensor, log_weights: Tensor) -> Tensor:
    """Attend to keys some of which stand for several.

    Args:
        query: queries, (1, 1, M, C).
        key: keys, (1, 1, N, C).
        value: values, (1, 1, N, C).
        log_weights: logarithm of the number of keys that each stands for, (1, 1, N, 1).
    """
    # exp(q k + log n) = n exp(q k), so the weights become one more channel of the keys, with 1 in the query:
    # an attention mask would keep some devices from the kernel that takes little memory. Kernels also want a
    # multiple of eight channels.
    num_channels = query.shape[-1]
    padding = torch.zeros_like(query[..., :7])
    query = torch.cat([query, torch.ones_like(query[..., :1]), padding], dim=-1)
    padding = torch.zeros_like(key[..., :7])
    key = torch.cat([key, sqrt(num_channels) * log_weights, padding], dim=-1)
    value = F.pad(value, (0, 8))
    result = F.scaled_dot_product_attention(query, key, value, scale=num_channels**-0.5)
    return result[..., :num_channels]
