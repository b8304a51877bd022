"""The brightness of frames, for what compares them."""

import numpy as np
import torch
from torch import Tensor

_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)
"""Of red, green and blue in BT.601 luma."""


def to_levels(frame: Tensor) -> np.ndarray:
    """Return 8-bit levels: RGB, uint8 or uint16, (3, H, W) -> float32 (H, W, 3), 0 to 255."""
    levels = frame.permute(1, 2, 0).float() * (255 / torch.iinfo(frame.dtype).max)
    return np.ascontiguousarray(levels.numpy())


def luma(levels: np.ndarray) -> np.ndarray:
    """Return BT.601 luma over the full range: (H, W, 3) -> (H, W)."""
    result: np.ndarray = levels @ _WEIGHTS
    return result
