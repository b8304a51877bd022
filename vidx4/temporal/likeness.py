"""How alike two frames are, by colours, by place, and after the motion between them is undone."""

from dataclasses import dataclass

import cv2
import numpy as np
from torch import Tensor

from vidx4.temporal.motion import fetch, flow_to, is_consistent

THUMBNAIL_PIXELS = 64 * 48
FLAT_VARIANCES = 36.0, 4.0
"""Variances in 8-bit levels far below which pictures count as alike: faint noise, and that of dark scenes."""
GRID = 4
"""Rows and columns of blocks whose levels are compared, so that bars and marks spoil only some of them."""
BLOCK_LEVELS = 16
RESIDUAL_LEVELS = 8.0
"""Difference in 8-bit levels beyond which a moved pixel has changed."""

LEAST_LEVELS, LEAST_BLOCKS = 3.0, 0.08
"""Mean difference in 8-bit levels, and share of the pixels of a block that change their level, across a cut;
both are below those across any labelled cut."""

MEASURES = (
    "colors",
    "levels",
    "structure",
    "blocks",
    "best blocks",
    "unexplained",
    "unexplained in the dark",
    "inconsistent",
    "unexplained and inconsistent",
    "residual",
    "changed",
)
"""What `unlikeness` returns, in this order."""


@dataclass(frozen=True)
class Thumbnail:
    """What is kept of a frame to compare it with others."""

    luma: np.ndarray
    """float32, whole levels from 0 to 255, (h, w)."""
    palette: np.ndarray
    """Histogram of brightness and colour, sum 1."""
    blocks: np.ndarray
    """Histograms of the brightness in each block of a grid, sum 1 each, (blocks, levels)."""

    @classmethod
    def of(cls, frame: Tensor) -> "Thumbnail":
        """Reduce a frame, RGB, uint8 or uint16, (3, H, W), to a small picture of the same shape."""
        height, width = frame.shape[1:]
        scale = min(1.0, (THUMBNAIL_PIXELS / (height * width)) ** 0.5)
        size = max(1, round(scale * width)), max(1, round(scale * height))
        planes = (
            cv2.resize(np.ascontiguousarray(plane), size, interpolation=cv2.INTER_AREA)
            for plane in frame.numpy()
        )
        levels = np.stack([_to_bytes(plane) for plane in planes], axis=-1)
        yuv = cv2.cvtColor(levels, cv2.COLOR_RGB2YUV)
        return cls(yuv[..., 0].astype(np.float32), _palette(yuv), _blocks(yuv[..., 0]))


def _to_bytes(plane: np.ndarray) -> np.ndarray:
    if plane.dtype == np.uint8:
        return plane
    reduced: np.ndarray = ((plane.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return reduced


def _palette(yuv: np.ndarray) -> np.ndarray:
    strong = yuv.copy()
    strong[..., 1:] = yuv[..., 1:].clip(64, 191)  # few colours are stronger: finer bins for the others
    counts = cv2.calcHist([strong], [0, 1, 2], None, [8, 16, 16], [0, 256, 64, 192, 64, 192])
    palette: np.ndarray = counts.ravel() / counts.sum()
    return palette


def _blocks(luma: np.ndarray) -> np.ndarray:
    """Return soft histograms of each block: a pixel counts for the two levels that it is between."""
    rows, columns = (np.arange(side) * GRID // side for side in luma.shape)
    place = luma.astype(np.float32) * ((BLOCK_LEVELS - 1) / 256)
    below = place.astype(np.int64)
    first = (rows[:, None] * GRID + columns) * BLOCK_LEVELS + below
    share = (place - below).ravel()
    size = GRID * GRID * BLOCK_LEVELS
    counts = np.bincount(first.ravel(), 1 - share, size) + np.bincount(first.ravel() + 1, share, size)
    histograms = counts.reshape(GRID * GRID, BLOCK_LEVELS)
    shares: np.ndarray = histograms / np.maximum(histograms.sum(1, keepdims=True), 1)
    return shares.astype(np.float32)


def may_be_unlike(last: Thumbnail, next_: Thumbnail) -> bool:
    """Return whether two consecutive frames differ by so much that a cut between them is conceivable."""
    levels = float(np.abs(last.luma - next_.luma).mean())
    return levels > LEAST_LEVELS and changed_blocks(last, next_) > LEAST_BLOCKS


def changed_blocks(last: Thumbnail, next_: Thumbnail) -> float:
    """Return the share of the pixels of a block that change their level, 0 to 1; the mean over all blocks."""
    return float(_by_block(last, next_).mean())


def _by_block(last: Thumbnail, next_: Thumbnail) -> np.ndarray:
    shares: np.ndarray = np.abs(last.blocks - next_.blocks).sum(1) / 2
    return shares


def unlikeness(last: Thumbnail, next_: Thumbnail) -> np.ndarray:
    """Compare two frames of one size; see `MEASURES`. All are 0 for equal frames, float32."""
    by_block = np.sort(_by_block(last, next_))
    back, there = (
        flow_to(start, end, finest_scale=1)
        for start, end in ((next_.luma, last.luma), (last.luma, next_.luma))
    )
    moved = fetch(last.luma, back)
    residual = np.abs(moved - next_.luma)
    unexplained = 1 - _structure(moved, next_.luma, FLAT_VARIANCES[0])
    inconsistent = 1 - is_consistent(back, there).mean()
    measures = (
        1 - np.minimum(last.palette, next_.palette).sum(),
        np.abs(last.luma - next_.luma).mean() / 64,
        1 - _structure(last.luma, next_.luma, FLAT_VARIANCES[0]),
        by_block.mean(),
        by_block[: GRID * GRID // 4].mean(),
        unexplained,
        1 - _structure(moved, next_.luma, FLAT_VARIANCES[1]),
        inconsistent,
        unexplained * inconsistent,
        residual.mean() / 32,
        (residual > RESIDUAL_LEVELS).mean(),
    )
    return np.array(measures, np.float32)


def _structure(a: np.ndarray, b: np.ndarray, flat_variance: float) -> float:
    """Return the structural similarity of two pictures, whatever their brightness; 1 for equal ones.

    The structure term of SSIM (Wang et al. 2004), over the whole picture.
    """
    a, b = (picture - picture.mean() for picture in (a, b))
    flat = 2 * flat_variance
    return float((2 * (a * b).mean() + flat) / ((a * a).mean() + (b * b).mean() + flat))
