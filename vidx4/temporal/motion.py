"""Motion from one frame to the next, and how far it can be trusted."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

MIN_SIDE = 16
"""Smallest side that the flow estimator takes; smaller frames are padded."""

STILL_PIXELS = 0.25
"""A pixel that moves less counts as still if it hardly changes, so that its noise doesn't jitter."""
STILL_LEVELS = 2.0
"""Mean change in 8-bit levels below which a pixel hardly changes."""

CONSISTENCY = 0.01, 0.5
"""Squared disagreement between both directions that is tolerated: a share of the squared motion, plus a
constant in square pixels."""

RESIDUAL_LEVELS = 4.0
RESIDUAL_PER_CONTRAST = 0.25
"""How much a moved pixel may differ: 8-bit levels, plus a share of the local contrast, since a small error in
the motion makes a large difference at an edge."""


@dataclass(frozen=True)
class Motion:
    """Motion of the picture from one frame to the next; all float32 on the CPU.

    What is at (x, y) in the last frame moves to (x, y) + forward; what is at (x, y) in this frame comes from
    (x, y) + backward. Trust is 1 where that is certain and 0 where something appears or disappears.
    """

    forward: Tensor
    """In low-resolution pixels, x then y, (2, H, W)."""
    backward: Tensor
    forward_trust: Tensor
    """(H, W)."""
    backward_trust: Tensor


def set_num_threads(num_threads: int) -> None:
    """Limit the threads that estimate motion; by default all cores are used."""
    cv2.setNumThreads(num_threads)


def estimate_motion(last: Tensor, frame: Tensor, unchanged: Tensor) -> Motion:
    """Estimate motion in both directions.

    The same frames give the same bits on any number of threads.

    Args:
        last: the frame before, RGB, uint8 or uint16, (3, H, W).
        frame: the frame, of the same type and size.
        unchanged: pixels that count as equal in both, and so as still, bool, (H, W).
    """
    before, after = (luma(to_levels(picture)) for picture in (last, frame))
    equal = unchanged.numpy()
    calm = cv2.blur(np.abs(after - before), (3, 3)) < STILL_LEVELS
    forward, backward = (
        np.where((equal | (calm & _is_slow(flow)))[..., None], 0, flow)
        for flow in (flow_to(before, after), flow_to(after, before))
    )
    return Motion(
        _chw(forward),
        _chw(backward),
        torch.from_numpy(_trust(before, after, forward, backward)),
        torch.from_numpy(_trust(after, before, backward, forward)),
    )


def flow_to(start: np.ndarray, end: np.ndarray, finest_scale: int = 0) -> np.ndarray:
    """Estimate the optical flow from one picture to another, to about 0.05 pixels.

    Dense inverse search (Kroeger et al. 2016), down to the finest scale, with variational refinement.

    Args:
        start: luma, float32, 0 to 255, (H, W).
        end: luma of the other picture, of the same size.
        finest_scale: halvings of the resolution at which the search ends: 1 is four times as fast, to about
            0.2 pixels.

    Returns:
        Motion from each pixel of `start`, x then y, float32, (H, W, 2).
    """
    height, width = start.shape
    padding = ((0, max(0, MIN_SIDE - height)), (0, max(0, MIN_SIDE - width)))
    first, second = (np.pad(luma.round().astype(np.uint8), padding, mode="edge") for luma in (start, end))
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    # The preset stops at a quarter of the resolution, but here a pixel becomes four of the result.
    estimator.setFinestScale(finest_scale)
    first_guess = np.zeros((*first.shape, 2), np.float32)
    flow: np.ndarray = estimator.calc(first, second, first_guess)
    return flow[:height, :width]


def fetch(picture: np.ndarray, flow: np.ndarray, interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
    """Return a picture sampled where a flow leads, (H, W, ...); edges are repeated beyond the picture."""
    x, y = _targets(flow)
    fetched: np.ndarray = cv2.remap(picture, x, y, interpolation, borderMode=cv2.BORDER_REPLICATE)
    return fetched


def is_consistent(flow: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Return where following a flow and its reverse leads back to the start, bool, (H, W)."""
    returning = fetch(back, flow)
    share, constant = CONSISTENCY
    tolerance = share * (np.square(flow).sum(-1) + np.square(returning).sum(-1)) + constant
    consistent: np.ndarray = np.square(flow + returning).sum(-1) < tolerance
    return consistent


def _is_slow(flow: np.ndarray) -> np.ndarray:
    slow: np.ndarray = np.square(flow).sum(axis=-1) < STILL_PIXELS**2
    return slow


def _trust(start: np.ndarray, end: np.ndarray, flow: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Return the trust in `flow` from `start` to `end`, whose reverse is `back`."""
    residual = cv2.blur(np.abs(fetch(end, flow, cv2.INTER_CUBIC) - start), (3, 3))
    limit = RESIDUAL_LEVELS + RESIDUAL_PER_CONTRAST * _contrast(start)
    alike = np.clip(2 - residual / limit, 0, 1)
    trust: np.ndarray = (alike * (_is_inside(flow) & is_consistent(flow, back))).astype(np.float32)
    return trust


def _is_inside(flow: np.ndarray) -> np.ndarray:
    height, width = flow.shape[:2]
    x, y = _targets(flow)
    inside: np.ndarray = (x >= -0.5) & (y >= -0.5) & (x <= width - 0.5) & (y <= height - 0.5)
    return inside


def _targets(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    height, width = flow.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return x + flow[..., 0], y + flow[..., 1]


def _contrast(luma: np.ndarray) -> np.ndarray:
    kernel = np.ones((3, 3), np.uint8)
    contrast: np.ndarray = cv2.dilate(luma, kernel) - cv2.erode(luma, kernel)
    return contrast


def _chw(flow: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(flow.transpose(2, 0, 1), dtype=np.float32))


_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in BT.601 luma."""


def to_levels(frame: Tensor) -> np.ndarray:
    """Return 8-bit levels: RGB, uint8 or uint16, (3, H, W) -> float32 (H, W, 3), 0 to 255."""
    levels = frame.permute(1, 2, 0).float() * (255 / torch.iinfo(frame.dtype).max)
    return np.ascontiguousarray(levels.numpy())


def luma(levels: np.ndarray) -> np.ndarray:
    """Return BT.601 luma over the full range: (H, W, 3) -> (H, W).

    A product of matrices would round as the BLAS of a machine does, so motion would differ between machines.
    """
    red, green, blue = (levels[..., channel] * weight for channel, weight in enumerate(_WEIGHTS))
    result: np.ndarray = red + green + blue
    return result
