"""Attention over the field of an autoencoder's decoder: exact, or for large fields near and far."""

from dataclasses import dataclass
from itertools import product
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class AttentionReach:
    """The distance up to which attention sees single latents, and how coarsely it sees those beyond."""

    whole_field: int = 640 * 480
    """Number of latents up to which attention is exact: it takes at most a sixth of the operations of 20
    guided steps."""
    block: int = 128
    """Side of a block of queries in a larger field, in latents; a multiple of `pool`."""
    halo: int = 32
    """Distance around its block up to which a query sees single latents; a multiple of `pool`."""
    pool: int = 4
    """Side of the cells, in latents, that are seen as one beyond that distance."""


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
    if query[0, 0].numel() > reach.whole_field:
        return attend_near_and_far(query, key, value, reach)
    result = F.scaled_dot_product_attention(_flatten(query), _flatten(key), _flatten(value))
    return _unflatten(result, query)


def _flatten(x: Tensor) -> Tensor:
    """Return a field as a sequence, from (1, C, H, W) to (1, 1, H * W, C)."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)[None]


def _unflatten(x: Tensor, like: Tensor) -> Tensor:
    return x[0].transpose(1, 2).view_as(like)


def attend_near_and_far(query: Tensor, key: Tensor, value: Tensor, reach: AttentionReach) -> Tensor:
    """Attend to single latents nearby, and to the means of cells of latents further away; see `attend`."""
    attended = torch.empty_like(query)
    far_key, far_value = (F.avg_pool2d(x, reach.pool, ceil_mode=True) for x in (key, value))
    # Cells at the bottom and right may be smaller; a divisor of 1 gives sums, here the latents in each cell.
    cell_sizes = F.avg_pool2d(torch.ones_like(key[:, :1]), reach.pool, ceil_mode=True, divisor_override=1)
    log_sizes = _flatten(cell_sizes.log())
    for top, left in product(*(range(0, side, reach.block) for side in query.shape[2:])):
        block = (..., slice(top, top + reach.block), slice(left, left + reach.block))
        rows, columns = (slice(max(0, at - reach.halo), at + reach.block + reach.halo) for at in (top, left))
        is_far = torch.ones_like(cell_sizes[0, 0], dtype=torch.bool)
        is_far[_cells(rows, reach), _cells(columns, reach)] = False
        near_key, near_value = (_flatten(x[..., rows, columns]) for x in (key, value))
        far_keys, far_values, weights = (
            x[:, :, is_far.flatten()] for x in (_flatten(far_key), _flatten(far_value), log_sizes)
        )
        result = _attend_weighted(
            _flatten(query[block]),
            torch.cat([near_key, far_keys], dim=2),
            torch.cat([near_value, far_values], dim=2),
            F.pad(weights, (0, 0, near_key.shape[2], 0)),
        )
        attended[block] = _unflatten(result, query[block])
    return attended


def _cells(latents: slice, reach: AttentionReach) -> slice:
    """Return the cells that lie wholly within a range of latents, which begins at a cell."""
    return slice(latents.start // reach.pool, latents.stop // reach.pool)


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
