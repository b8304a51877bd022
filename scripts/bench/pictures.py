"""Frames to measure on: a pan over a photograph, and an object that moves over a still one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

PHOTO = Path(__file__).parents[2] / "tests" / "data" / "kodim23.png"
WIDTH, HEIGHT = 320, 240
"""Size of a frame if none is given."""
OBJECT_SIDE = 24


def photo(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Return a photograph twice as wide and high as a frame, uint8, (2H, 2W, 3)."""
    with Image.open(PHOTO) as picture:
        return np.array(picture.convert("RGB").resize((2 * width, 2 * height), Image.Resampling.LANCZOS))


def pan(num_frames: int, width: int = WIDTH, height: int = HEIGHT) -> Tensor:
    """Return frames that each show another part of a photograph, uint8, (N, 3, H, W)."""
    picture = photo(width, height)
    corners = [(3 * i % height, 5 * i % width) for i in range(num_frames)]
    return to_frames([picture[top : top + height, left : left + width] for top, left in corners])


def object_over_still(num_frames: int) -> Tensor:
    """Return frames in which a piece of a photograph moves over another part of it, uint8, (N, 3, H, W)."""
    picture = photo()
    frames = [picture[:HEIGHT, :WIDTH].copy() for _ in range(num_frames)]
    piece = picture[300 : 300 + OBJECT_SIDE, 300 : 300 + OBJECT_SIDE]
    for i, frame in enumerate(frames):
        left = 20 + 5 * i % (WIDTH - 20 - OBJECT_SIDE)
        frame[100 : 100 + OBJECT_SIDE, left : left + OBJECT_SIDE] = piece
    return to_frames(frames)


def to_frames(pictures: Sequence[np.ndarray]) -> Tensor:
    """Stack pictures, (H, W, 3), as frames, (N, 3, H, W)."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()
