"""What a frame shows, fetched from the frame before it."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vidx4.temporal.motion import Motion
from vidx4.video import Box

FINE = 4
"""Points per low-resolution pixel, along each side, at which fields are warped: at the resolution of latents,
interpolation would blur them (Wang et al. 2026, "DGAF-VSR", measure four times less loss)."""


@dataclass(frozen=True)
class Warp:
    """The way from a frame, or a box of it, back to the frame before."""

    places: Tensor
    """Where each fine point was, in the coordinates of `grid_sample`, (1, FINE H, FINE W, 2)."""
    trust: Tensor
    """From 0 to 1, (1, 1, H, W)."""

    @classmethod
    def of(cls, motion: Motion, device: torch.device) -> "Warp":
        """Prepare the way that a motion takes."""
        flow = F.interpolate(motion.backward[None].to(device), scale_factor=FINE, mode="bilinear")[0]
        return cls(_places(flow)[None], motion.backward_trust.to(device)[None, None])

    def cropped(self, box: Box) -> "Warp":
        """Return the way from a box of the frame."""
        return Warp(self.places[:, *box.scaled(FINE).slices], self.trust[..., *box.slices])

    def fetch(self, last: Tensor, grid: int) -> Tensor:
        """Return latents of the frame before at the places of this one.

        Args:
            last: `grid` points per low-resolution pixel along each side, folded into the channels by pixel
                unshuffle, (C, H, W).
            grid: up to FINE.

        Returns:
            Unfolded, (1, C / grid^2, grid h, grid w).
        """
        field = F.pixel_shuffle(last[None], grid)
        step = FINE // grid
        if step == 1:
            return self.fetch_fine(field)
        return F.avg_pool2d(self.fetch_fine(F.interpolate(field, scale_factor=step)), step)

    def fetch_fine(self, last: Tensor) -> Tensor:
        """Return a field of the frame before at the places of this one: (1, C, FINE H, FINE W)."""
        return F.grid_sample(last, self.places, mode="bicubic", padding_mode="border", align_corners=False)

    def trust_at(self, grid: int) -> Tensor:
        """Return the trust at `grid` points per low-resolution pixel, (1, 1, grid h, grid w)."""
        return self.trust if grid == 1 else F.interpolate(self.trust, scale_factor=grid, mode="bilinear")


def _places(flow: Tensor) -> Tensor:
    """From a flow in low-resolution pixels at fine points, (2, FINE H, FINE W), to places from -1 to 1."""
    height, width = flow.shape[1:]
    y, x = (torch.arange(side, device=flow.device, dtype=flow.dtype) + 0.5 for side in (height, width))
    return torch.stack(
        [(2 / width) * (x + FINE * flow[0]) - 1, (2 / height) * (y[:, None] + FINE * flow[1]) - 1], dim=-1
    )
