"""Short sequences with known motion: the truth, its low resolution, and how to get from frame to frame."""

from collections.abc import Sequence as Items
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import torch
from torch import Tensor

from scripts.evaluate.clips import reduce_clean
from scripts.training.degradations import degrade
from scripts.training.scenes import Photo, make_scene
from vidx4.frames import SCALE
from vidx4.temporal.motion import estimate_motion

NUM_FRAMES = 6
SIDE = 64
"""Side of the frames that are trained on, in low-resolution pixels."""
MAX_NOISE_LEVEL = 150
"""Noise level of a sequence that is damaged as much as any."""
GREY_SHARE = 0.1
"""Share of the sequences without colour."""
CLEAN = "clean"
"""The kind of sequences that are not damaged."""


@dataclass(frozen=True)
class Sequence:
    """Frames that can be played back and forth."""

    truth: Tensor
    """Frames at full resolution, RGB, uint8, (T, 3, 4H, 4W)."""
    low_res: Tensor
    """The same frames at low resolution, RGB, uint8, (T, 3, H, W)."""
    flow: Tensor
    """Offset of each pixel to its place in the frame before, and in the frame after, x then y, float16,
    (T, 2, 2, H, W)."""
    trust: Tensor
    """Trust in both, 0 to 255, uint8, (T, 2, H, W); 0 where there is no such frame."""

    def turned(self, way: int) -> "Sequence":
        """Return the sequence rotated and mirrored in one of eight ways."""
        fields = dict(vars(self))
        for bit, dim, signs in ((1, -1, (-1, 1)), (2, -2, (1, -1))):
            if way & bit:
                fields = {name: tensor.flip(dim) for name, tensor in fields.items()}
                fields["flow"] = fields["flow"] * torch.tensor(signs).view(2, 1, 1)
        if way & 4:
            fields = {name: tensor.transpose(-1, -2) for name, tensor in fields.items()}
            fields["flow"] = fields["flow"].flip(2)
        return Sequence(**fields)

    def reversed(self) -> "Sequence":
        """Return the sequence played backwards."""
        return Sequence(
            self.truth.flip(0), self.low_res.flip(0), self.flow.flip((0, 1)), self.trust.flip((0, 1))
        )


def draw_level(kind: str, rng: np.random.Generator) -> int:
    """Draw the noise level of a sequence, low ones more often: 0 for a clean one."""
    return 0 if kind == CLEAN else 1 + int(rng.random() ** 1.25 * MAX_NOISE_LEVEL)


def make_sequence(
    photos: Items[Photo], kind: str, level: int, rng: np.random.Generator, side: int = SIDE
) -> Sequence:
    """Make a sequence.

    Args:
        photos: pictures to move over.
        kind: kind of the damage, or `CLEAN`.
        level: noise level, how badly it is damaged.
        rng: the generator whose state decides everything else.
        side: side of the frames, in low-resolution pixels; a multiple of 8.
    """
    truth = make_scene(lambda: photos[int(rng.integers(len(photos)))], rng, NUM_FRAMES, SCALE * side)
    if rng.random() < GREY_SHARE:
        truth = _grey(truth)
    low_res = reduce_clean(truth) if kind == CLEAN else degrade(truth, kind, level / MAX_NOISE_LEVEL, rng)
    return _with_motion(_to_tensor(truth), _to_tensor(low_res))


def _grey(frames: np.ndarray) -> np.ndarray:
    """Return frames, uint8, (T, H, W, 3), without colour."""
    grey = cv2.cvtColor(frames.reshape(-1, *frames.shape[2:]), cv2.COLOR_RGB2GRAY)
    return np.repeat(grey.reshape(*frames.shape[:3], 1), 3, axis=-1)


def _with_motion(truth: Tensor, low_res: Tensor) -> Sequence:
    num_frames, _, height, width = low_res.shape
    flow = torch.zeros(num_frames, 2, 2, height, width, dtype=torch.float16)
    trust = torch.zeros(num_frames, 2, height, width, dtype=torch.uint8)
    for i, (last, frame) in enumerate(pairwise(low_res)):
        motion = estimate_motion(last, frame, (last == frame).all(dim=0))
        flow[i + 1, 0], trust[i + 1, 0] = motion.backward.half(), _to_byte(motion.backward_trust)
        flow[i, 1], trust[i, 1] = motion.forward.half(), _to_byte(motion.forward_trust)
    return Sequence(truth, low_res, flow, trust)


def _to_byte(trust: Tensor) -> Tensor:
    return (255 * trust).round().to(torch.uint8)


def _to_tensor(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))
