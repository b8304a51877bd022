"""Attention in an autoencoder's decoder: to latents nearby one by one, to those far away in cells."""

from dataclasses import dataclass
from functools import partial
from itertools import product
from math import ceil, isqrt, prod, sqrt
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

_SAMPLES_AT_ONCE = 32
_NOTHING = -60.0
"""Logarithm of a weight that counts for nothing; float16 holds it times the root of the channels."""


@dataclass(frozen=True)
class AttentionReach:
    """How much of a field a query sees latent by latent, and how coarsely it sees the rest.

    A query has `near` keys, the landmarks and the cells beyond. So a larger field never costs less, and as
    the cells are those of the UNet's own attention, whose sides are eight pixels, decoding never costs more
    than a third of 20 steps, whatever the size.
    """

    near: int = 320 * 240
    """Number of latents around a query that it sees one by one, at least; a field of no more is attended to
    exactly."""
    block: int = 64
    """Side of a block of queries, which see the same keys, in latents; at most the square root of `near`."""
    pool: int = 8
    """Side of the cells that the rest of the field is seen in, in latents."""
    landmarks: int = 4096
    """Number of latents of the whole field that every query sees one by one: trained attention may gather at
    few latents, which the mean of a cell would hide."""
    samples: int = 256
    """Number of queries, at least, that are asked for landmarks."""

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
    """Attend to latents nearby and to landmarks one by one, and to means of cells of the rest; see `attend`.

    The windows of all blocks have the same size: at the edges of the field they are moved, not cut.
    """
    attended = torch.empty_like(query)
    far = _Far.of(key, value, find_landmarks(query, key, reach), reach)
    sides = reach.window(*query.shape[2:])
    for top, left in product(*(range(0, side, reach.block) for side in query.shape[2:])):
        block = (..., slice(top, top + reach.block), slice(left, left + reach.block))
        rows, columns = map(_window, (top, left), sides, query.shape[2:], 2 * [reach])
        near_key, near_value = (_flatten(x[..., rows, columns]) for x in (key, value))
        far_key, far_value, log_weights = far.outside(rows, columns)
        result = _attend_weighted(
            _flatten(query[block]),
            torch.cat([near_key, far_key], dim=2),
            torch.cat([near_value, far_value], dim=2),
            F.pad(log_weights, (0, 0, near_key.shape[2], 0)),
        )
        attended[block] = _unflatten(result, query[block])
    return attended


def count_operations(height: int, width: int, num_channels: int, reach: AttentionReach) -> float:
    """Return the operations of attending to a field of this size; a multiply-add counts as two."""
    if reach.covers(height, width):
        return 4.0 * num_channels * (height * width) ** 2
    sampled = prod(
        len(range(_step(height * width, reach) // 2, side, _step(height * width, reach)))
        for side in (height, width)
    )
    # The weights of keys take eight more channels.
    return 2.0 * num_channels * sampled * height * width + 4.0 * (num_channels + 8) * _num_pairs(
        height, width, reach
    )


def _num_pairs(height: int, width: int, reach: AttentionReach) -> int:
    """Return how many pairs of a query and a key there are, near and far."""
    length, sides = (height, width), reach.window(height, width)
    num_cells = prod(-(-side // reach.pool) for side in length)
    total = 0
    for corner in product(*(range(0, side, reach.block) for side in length)):
        windows = list(map(_window, corner, sides, length, 2 * [reach]))
        num_queries = prod(min(reach.block, side - at) for at, side in zip(corner, length, strict=True))
        num_near, num_near_cells = map(_area, (windows, [_cells(each, reach.pool) for each in windows]))
        num_landmarks = min(reach.landmarks, height * width)
        total += num_queries * (num_near + num_landmarks + num_cells - num_near_cells)
    return total


def _area(window: list[slice]) -> int:
    return prod(each.stop - each.start for each in window)


def find_landmarks(query: Tensor, key: Tensor, reach: AttentionReach) -> Tensor:
    """Return the places of the latents that a sample of queries attends to most, int64, (M,), row by row.

    As the keys of a language model that most attention falls on are told by its sum (Zhang et al. 2023, H2O).
    """
    num_latents = query[0, 0].numel()
    step = _step(num_latents, reach)
    sample = _flatten(query[..., step // 2 :: step, step // 2 :: step])[0, 0] / sqrt(query.shape[1])
    keys = _flatten(key)[0, 0].T
    # A few at a time, since each of them has a weight for every latent.
    weights = keys.new_zeros(num_latents, dtype=torch.float32)
    for some in sample.split(_SAMPLES_AT_ONCE):
        weights += (some @ keys).float().softmax(dim=1).sum(0)
    return weights.topk(min(reach.landmarks, num_latents)).indices


def _step(num_latents: int, reach: AttentionReach) -> int:
    """Return the distance between the queries of the sample, along each side."""
    return max(1, isqrt(num_latents // reach.samples))


@dataclass(frozen=True)
class _Far:
    """What is seen of a field beyond the window: landmarks, and means of cells of the other latents."""

    places: tuple[Tensor, Tensor]
    """Row and column of each landmark, (M,)."""
    landmarks: tuple[Tensor, Tensor]
    """Keys and values of the landmarks, (1, 1, M, C)."""
    cells: tuple[Tensor, Tensor]
    """Mean keys and values of the other latents of each cell, (1, C, h, w)."""
    log_sizes: Tensor
    """Logarithms of the numbers of the other latents in each cell, (1, 1, h, w)."""
    pool: int

    @classmethod
    def of(cls, key: Tensor, value: Tensor, landmarks: Tensor, reach: AttentionReach) -> Self:
        """Return what is seen of keys and values, (1, C, H, W), from afar."""
        others = torch.ones_like(key[:, :1]).contiguous()
        others.view(-1).index_fill_(0, landmarks, 0)
        pooled = partial(F.avg_pool2d, kernel_size=reach.pool, ceil_mode=True)
        shares = pooled(others)
        # Cells at the bottom and right may be smaller; a divisor of 1 gives sums, here the size of each cell.
        sizes = pooled(others, divisor_override=1).float()
        cells = [pooled(x * others) / shares.clamp(min=reach.pool**-2) for x in (key, value)]
        width = key.shape[3]
        return cls(
            (landmarks // width, landmarks % width),
            (_flatten(key)[:, :, landmarks], _flatten(value)[:, :, landmarks]),
            (cells[0], cells[1]),
            sizes.log().clamp(min=_NOTHING).to(key.dtype),
            reach.pool,
        )

    def outside(self, rows: slice, columns: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Return keys and values outside a window, (1, 1, N, C), and logarithms of weights, (1, 1, N, 1)."""
        is_near = torch.ones_like(self.places[0], dtype=torch.bool)
        for place, near in zip(self.places, (rows, columns), strict=True):
            is_near &= (place >= near.start) & (place < near.stop)
        weights = _NOTHING * is_near.to(self.log_sizes.dtype)[None, None, :, None]
        cells = [
            _outside(x, _cells(rows, self.pool), _cells(columns, self.pool))
            for x in (*self.cells, self.log_sizes)
        ]
        fields = zip((*self.landmarks, weights), cells, strict=True)
        key, value, log_weights = (torch.cat(field, dim=2) for field in fields)
        return key, value, log_weights


def _window(start: int, side: int, length: int, reach: AttentionReach) -> slice:
    """Return the window of a block that starts here, along one axis: from a cell's edge to a cell's edge."""
    centred = max(0, start + (reach.block - side) // 2)
    first = min(centred, length - side) // reach.pool * reach.pool
    stop = first + side
    return slice(first, length if length - stop < reach.pool else stop)


def _cells(latents: slice, pool: int) -> slice:
    """Return the cells of a range of latents, which begins and ends at the edges of cells."""
    return slice(latents.start // pool, -(-latents.stop // pool))


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
