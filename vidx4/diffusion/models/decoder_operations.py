"""Count the operations of decoding with the autoencoder of `sd-x4`; a multiply-add counts as two."""

from itertools import product

from vidx4.diffusion.models.autoencoder import PART_SIDE, TILE_SIZE
from vidx4.diffusion.models.decoder_attention import AttentionReach
from vidx4.diffusion.tiles import spans

WHOLE = 155.3e6
"""Operations for each latent of a picture that is decoded as a whole, attention apart; counted."""
IN_STRIPS = 305e6
"""The same in strips, where the inside of residual blocks is computed twice, and enlargements three times."""
ATTENTION_CHANNELS = 512
"""Channels of the attention."""


def decode_operations(width: int, height: int, tile_size: int = TILE_SIZE) -> float:
    """Count the operations of decoding a frame, within a few per cent.

    Args:
        width: width of the frame's latents.
        height: height of the frame's latents.
        tile_size: side of a decode tile, in latents.
    """
    side = PART_SIDE * tile_size
    if width * height > side**2:
        columns, rows = (spans(length, side, tile_size // 2) for length in (width, height))
        each = decode_operations(min(width, side), min(height, side), tile_size)
        return len(columns) * len(rows) * each
    for_each = WHOLE if width * height <= tile_size**2 else IN_STRIPS
    return for_each * width * height + attention_operations(
        width, height, ATTENTION_CHANNELS, AttentionReach()
    )


def attention_operations(width: int, height: int, num_channels: int, reach: AttentionReach) -> float:
    """Count the operations of attending to a field: the products with the keys and with the values.

    Args:
        width: width of the field, in latents.
        height: height of the field, in latents.
        num_channels: number of channels.
        reach: up to which size attention is exact, and how it is approximated.
    """
    if width * height <= reach.whole_field:
        return 4.0 * num_channels * (width * height) ** 2
    blocks = product(*(range(0, side, reach.block) for side in (height, width)))
    # `attend_near_and_far` adds eight channels, which hold the sizes of cells.
    return 4.0 * (num_channels + 8) * sum(_num_pairs(block, (height, width), reach) for block in blocks)


def _num_pairs(block: tuple[int, ...], size: tuple[int, ...], reach: AttentionReach) -> int:
    """Return how many pairs of a query and a key a block has: single latents nearby, and cells beyond."""
    num_queries = num_near = num_cells = num_near_cells = 1
    for start, side in zip(block, size, strict=True):
        first, stop = max(0, start - reach.halo), start + reach.block + reach.halo
        latents, cells = range(side), range(-(-side // reach.pool))
        num_queries *= len(latents[start : start + reach.block])
        num_near *= len(latents[first:stop])
        num_cells *= len(cells)
        num_near_cells *= len(cells[first // reach.pool : stop // reach.pool])
    return num_queries * (num_near + num_cells - num_near_cells)
