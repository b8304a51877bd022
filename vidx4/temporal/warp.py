"""Warping: pixels of a frame, fetched from the frame before it along the motion."""

from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from vidx4.frames import Box
from vidx4.temporal.motion import Motion
from vidx4.transfer import to_device


@dataclass(frozen=True)
class Warp:
    """The way from a frame, or a box of it, back to the frame before.

    Fields are interpolated with a cubic kernel on their own grid: half a pixel off, it keeps half of the
    variance of white noise, linear interpolation a quarter. (Repeating latents to a finer grid, moving and
    averaging them there, as is often done, amounts to linear interpolation.)
    """

    grid: int
    """Points per low-resolution pixel, along each side, of the fields to fetch."""
    places: Tensor
    """Position of each point in the frame before, in coordinates of `grid_sample`, (N, grid h, grid w, 2)."""
    trust: Tensor
    """Trust in the motion, 0 to 1, (N, 1, grid h, grid w)."""

    @classmethod
    def of(cls, motion: Motion, grid: int, device: torch.device) -> Self:
        """Prepare the way back along a motion."""
        flow, trust = (to_device(field, device) for field in (motion.backward, motion.backward_trust))
        return cls.along(flow[None], trust[None, None], grid)

    @classmethod
    def along(cls, flow: Tensor, trust: Tensor, grid: int) -> Self:
        """Prepare the way back along a flow.

        Args:
            flow: motion to the frame before in low-resolution pixels, x then y, (N, 2, H, W).
            trust: trust in the flow, 0 to 1, (N, 1, H, W).
            grid: points per low-resolution pixel, along each side, of the fields to fetch.
        """
        if grid > 1:
            flow, trust = (F.interpolate(x, scale_factor=grid, mode="bilinear") for x in (flow, trust))
        return cls(grid, _places(grid * flow), trust)

    def cropped(self, box: Box) -> "Warp":
        """Return the way back from a box of the frame, in low-resolution pixels."""
        rows, columns = box.scaled(self.grid).slices
        return Warp(self.grid, self.places[:, rows, columns], self.trust[..., rows, columns])

    def fetch(self, last: Tensor) -> Tensor:
        """Return a field of the frame before, (N, C, grid H, grid W), moved to where this frame shows it."""
        return self._fetched(last, "bicubic")

    def fetch_features(self, last: Tensor) -> Tensor:
        """Return features of the frame before, (N, C, grid H, grid W), moved as by `fetch`, but linearly.

        A network must be given what it was trained with. Features are smooth, so they hardly gain by a cubic
        kernel, which takes three times as long in training.
        """
        return self._fetched(last, "bilinear")

    def _fetched(self, last: Tensor, mode: str) -> Tensor:
        return F.grid_sample(last, self.places, mode=mode, padding_mode="border", align_corners=False)


def _places(flow: Tensor) -> Tensor:
    """Convert a flow in points of its grid, (N, 2, H, W), to positions from -1 to 1, (N, H, W, 2)."""
    height, width = flow.shape[2:]
    y, x = (torch.arange(side, device=flow.device, dtype=flow.dtype) + 0.5 for side in (height, width))
    return torch.stack(
        [(2 / width) * (x + flow[:, 0]) - 1, (2 / height) * (y[:, None] + flow[:, 1]) - 1], dim=-1
    )


def fetch_shifted(last: Tensor, flow: Tensor) -> Tensor:
    """Return a picture of the frame before as the code that trained Stream-DiffVSR moves it.

    That code, like StableVSR's (Rota et al. 2024), converts positions as if -1 and 1 were the centres of the
    outermost pixels, and then reads them as if these were the edges of the picture. So without any motion,
    the picture moves by half a pixel. Beyond its edges, it counts as mid-grey.

    Args:
        last: a picture of the frame before, (N, C, H, W).
        flow: motion to the frame before in pixels of the picture, x then y, (N, 2, H, W).
    """
    height, width = flow.shape[2:]
    y, x = (torch.arange(side, device=flow.device, dtype=flow.dtype) for side in (height, width))
    places = torch.stack(
        [
            2 * (x + flow[:, 0]) / max(width - 1, 1) - 1,
            2 * (y[:, None] + flow[:, 1]) / max(height - 1, 1) - 1,
        ],
        dim=-1,
    )
    return F.grid_sample(last, places, mode="bilinear", padding_mode="zeros", align_corners=False)
