"""Equal input gives equal output, so it is computed once."""

import cv2
import numpy as np
import torch
from torch import Tensor

from vidx4.frames import Box

NEAR_SIDE = 9
"""Of the square over which frames are compared that need not be quite equal, in low-resolution pixels."""


def find_unchanged(last: Tensor, frame: Tensor, threshold: float) -> Tensor:
    """Tell which pixels of a frame count as equal to the last one's.

    Args:
        last: RGB, uint8 or uint16, (3, H, W).
        frame: of the same type and size.
        threshold: 0 for those that are equal; else the mean difference about a pixel, in 8-bit levels, up to
            which it counts as equal.

    Returns:
        bool, (H, W).
    """
    if threshold == 0:
        return (last == frame).all(dim=0)
    levels = 255 / torch.iinfo(frame.dtype).max
    difference = (last.float() - frame.float()).abs().mean(dim=0) * levels
    return torch.from_numpy(cv2.blur(difference.numpy(), (NEAR_SIDE, NEAR_SIDE))) <= threshold


def differs(last: Tensor, field: Tensor, height: int, width: int) -> Tensor:
    """Tell in which low-resolution pixels two noise fields differ, (C, grid H, grid W) each -> (H, W)."""
    different = (last != field).any(dim=0)
    return different.view(height, -1, width, different.shape[1] // width).any(dim=3).any(dim=1)


def grow(mask: Tensor, reach: int) -> Tensor:
    """Return the pixels at most `reach` rows and columns away from those of a mask, (H, W)."""
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    return torch.from_numpy(cv2.dilate(mask.numpy().astype(np.uint8), square)) > 0


def find_boxes(mask: Tensor) -> list[Box]:
    """Return boxes that together hold all pixels of a mask, (H, W); none touches another."""
    boxes: list[Box] = []
    stats = cv2.connectedComponentsWithStats(mask.numpy().astype(np.uint8), connectivity=8)[2]
    for left, top, width, height, _ in stats[1:].tolist():
        boxes = _joined(Box(top, top + height, left, left + width), boxes)
    return boxes


def _joined(box: Box, others: list[Box]) -> list[Box]:
    """Add a box to others; what it meets becomes one with it."""
    for other in others:
        if _meet(box, other):
            rest = [each for each in others if each is not other]
            return _joined(_hull(box, other), rest)
    return [*others, box]


def _meet(a: Box, b: Box) -> bool:
    return a.top <= b.bottom and b.top <= a.bottom and a.left <= b.right and b.left <= a.right


def _hull(a: Box, b: Box) -> Box:
    return Box(min(a.top, b.top), max(a.bottom, b.bottom), min(a.left, b.left), max(a.right, b.right))
