"""Estimate the noise level that restores pictures best, by what the bundled model sees in them."""

import math
from collections.abc import Iterable
from functools import cache
from statistics import median
from typing import cast

import torch
from torch import Tensor

from vidx4.diffusion.models.known import COMPACT_FOLDER
from vidx4.diffusion.models.loading.parts import load_network
from vidx4.diffusion.models.networks.compact_denoiser import CompactDenoiser

TILE = 64
"""Side of the tiles that are judged, in pixels: the size of the pictures in training."""
MAX_TILES = 8
"""Most tiles of a picture that are judged."""
LEAST_CONTRAST = 1 / 255
"""Standard deviation below which a tile holds nothing to judge by: half a level of 8 bits, in [-1, 1]."""
ROUNDING = 5
"""Estimates are multiples of this: they are no more exact, and another machine computes the same."""


def estimate_noise_level(pictures: Iterable[Tensor]) -> int:
    """Estimate the noise level that suits `compact` best; see `level_by`."""
    return level_by(_network(), pictures)


@torch.inference_mode()
def level_by(network: CompactDenoiser, pictures: Iterable[Tensor]) -> int:
    """Estimate the noise level that suits a network best, on the CPU and in float32.

    Tiles are judged one by one, as in training. Their median counts, and then that of the pictures; those
    that show nothing, such as black ones, don't count.

    Args:
        network: the network, on the CPU and in float32.
        pictures: RGB over the full range of the type, uint8 or uint16, (3, H, W) each.

    Returns:
        The level, a multiple of 5; 0 if no picture shows anything.
    """
    found = (_level(network, picture) for picture in pictures)
    levels = [level for level in found if level is not None]
    level = median(levels) if levels else 0.0
    return ROUNDING * round(level / ROUNDING)


def _level(network: CompactDenoiser, picture: Tensor) -> float | None:
    """Return the level of a picture; None if it shows nothing."""
    pixels = picture.cpu().float() / torch.iinfo(picture.dtype).max * 2 - 1
    tiles = _tiles(pixels)
    return network.estimate_level(tiles).median().item() if len(tiles) else None


def _tiles(pixels: Tensor) -> Tensor:
    """Return tiles of a picture, (3, H, W), that show something, of little to much contrast, (N, 3, h, w).

    Grain is seen best where there is little else, and the blocks of a codec where there is more.
    """
    height, width = (min(TILE, side) for side in pixels.shape[1:])
    tops, lefts = (
        _evenly(side - tile, math.ceil(side / tile))
        for side, tile in zip(pixels.shape[1:], (height, width), strict=True)
    )
    tiles = [pixels[:, top : top + height, left : left + width] for top in tops for left in lefts]
    contrasts = torch.stack([tile.mean(dim=0).std(correction=0) for tile in tiles])
    shown = [index for index in contrasts.argsort(stable=True).tolist() if contrasts[index] >= LEAST_CONTRAST]
    chosen = [tiles[shown[rank]] for rank in _evenly(len(shown) - 1, min(len(shown), MAX_TILES))]
    return torch.stack(chosen) if chosen else pixels.new_empty(0)


def _evenly(last: int, num: int) -> list[int]:
    """Return so many whole numbers from 0 to the last, evenly spread."""
    return [last * index // max(num - 1, 1) for index in range(num)]


@cache
def _network() -> CompactDenoiser:
    network = load_network(CompactDenoiser, COMPACT_FOLDER, "unet", torch.float32)
    return cast(CompactDenoiser, network)
