"""Frames with known motion."""

from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vidx4.temporal.motion import Motion

DATA = Path(__file__).parent / "data"


def photo(name: str = "kodim05") -> np.ndarray:
    """Return a sharp photograph, 192x128, float32, (H, W, 3)."""
    with Image.open(DATA / f"{name}.png") as picture:
        small = picture.convert("RGB").resize((192, 128), Image.Resampling.LANCZOS)
    return np.asarray(small, dtype=np.float32)


def moved(picture: np.ndarray, matrix: np.ndarray, shift: tuple[float, float]) -> Tensor:
    """Return a frame whose point p shows picture point `matrix @ p + shift`, uint8, (3, H, W).

    Points are relative to the middle.
    """
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    places = np.stack([x - (width - 1) / 2, y - (height - 1) / 2], axis=-1) @ matrix.T
    places = (places + shift + np.array([(width - 1) / 2, (height - 1) / 2])).astype(np.float32)
    frame = cv2.remap(picture, places[..., 0], places[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return torch.from_numpy(frame.round().clip(0, 255).astype(np.uint8)).permute(2, 0, 1).contiguous()


def pan(num_frames: int, dx: float, dy: float, name: str = "kodim05") -> Tensor:
    """Return frames in which the picture moves by (dx, dy) pixels a frame, uint8, (N, 3, H, W)."""
    picture = photo(name)
    return torch.stack([moved(picture, np.eye(2), (-dx * i, -dy * i)) for i in range(num_frames)])


def affine_motion(height: int, width: int, matrix: np.ndarray, shift: tuple[float, float]) -> Motion:
    """Return the motion that moves a point p, relative to the middle, to `matrix @ p + shift`."""
    y, x = np.mgrid[:height, :width]
    places = np.stack([x - (width - 1) / 2, y - (height - 1) / 2], axis=-1)
    forward = places @ matrix.T + shift - places
    backward = (places - shift) @ np.linalg.inv(matrix).T - places
    flows = [torch.from_numpy(flow.astype(np.float32)).permute(2, 0, 1) for flow in (forward, backward)]
    return Motion(flows[0], flows[1], torch.ones(height, width), torch.ones(height, width))


def rotation(angle: float) -> np.ndarray:
    """Return the matrix of a rotation by an angle in radians."""
    sin, cos = np.sin(angle), np.cos(angle)
    return np.array([[cos, -sin], [sin, cos]])
