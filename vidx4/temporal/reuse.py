"""Reuse: where the input is unchanged, the output is not computed again."""

import cv2
import numpy as np
import torch
from torch import Tensor

from vidx4.frames import Box

NEAR_SIDE = 9
"""Side of the square over which differences are averaged for a threshold, in low-resolution pixels."""


def find_unchanged(last: Tensor, frame: Tensor, threshold: float) -> Tensor:
    """Return which pixels of a frame count as equal to the last frame's, bool, (H, W).

    Args:
        last: the frame before, RGB, uint8 or uint16, (3, H, W).
        frame: the frame, of the same type and size.
        threshold: 0 for exact equality; otherwise the mean difference around a pixel, in 8-bit levels, up to
            which it counts as equal.
    """
    if threshold == 0:
        return (last == frame).all(dim=0)
    levels = 255 / torch.iinfo(frame.dtype).max
    difference = (last.float() - frame.float()).abs().mean(dim=0) * levels
    return torch.from_numpy(cv2.blur(difference.numpy(), (NEAR_SIDE, NEAR_SIDE))) <= threshold


def differs(last: Tensor, field: Tensor, height: int, width: int) -> Tensor:
    """Return in which low-resolution pixels two noise fields differ, (C, grid H, grid W) each -> (H, W)."""
    different = (last != field).any(dim=0)
    return different.view(height, -1, width, different.shape[1] // width).any(dim=3).any(dim=1)


def grow(mask: Tensor, reach: int) -> Tensor:
    """Dilate a mask by `reach` rows and columns, (H, W)."""
    square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    return torch.from_numpy(cv2.dilate(mask.numpy().astype(np.uint8), square)) > 0


def find_boxes(mask: Tensor) -> list[Box]:
    """Return boxes that together cover a mask, (H, W), and don't touch each other."""
    boxes: list[Box] = []
    stats = cv2.connectedComponentsWithStats(mask.numpy().astype(np.uint8), connectivity=8)[2]
    for left, top, width, height, _ in stats[1:].tolist():
        boxes = _merged(Box(top, top + height, left, left + width), boxes)
    return boxes


def _merged(box: Box, others: list[Box]) -> list[Box]:
    """Add a box to others, merging it with those it touches."""
    for other in others:
        if _touch(box, other):
            rest = [each for each in others if each is not other]
            return _merged(_hull(box, other), rest)
    return [*others, box]


def _touch(a: Box, b: Box) -> bool:
    return a.top <= b.bottom and b.top <= a.bottom and a.left <= b.right and b.left <= a.right


def _hull(a: Box, b: Box) -> Box:
    return Box(min(a.top, b.top), max(a.bottom, b.bottom), min(a.left, b.left), max(a.right, b.right))
