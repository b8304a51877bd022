"""Propagation of clean latents along the motion from frame to frame."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vidx4.frames import Box
from vidx4.temporal.warp import Warp


@dataclass(frozen=True)
class Link:
    """The tie between a frame, or a box of it, and the frame before."""

    box: Box
    warp: Warp | None = None
    """Way back to the frame before; None if there is none."""
    held: Tensor | None = None
    """Where the model's input is unchanged, so the last result is kept, bool, (h, w)."""


class Propagation:
    """Pulls the clean latents that a denoiser predicts towards those of the frame before, along the motion.

    The recurrent latent propagation of Zhou et al. 2024 ("Upscale-A-Video", equation 6), with three changes.
    It only looks back, so no result depends on where a batch of frames ends. Latents are warped with a cubic
    kernel on the grid to which they unfold. And the less the motion is trusted, the weaker the pull.

    Args:
        strengths: strength by denoising step, in ascending order, of the steps in which it acts: from 0,
            which only keeps latents, to 1, which uses those of the last frame wherever available.
        grid: points per low-resolution pixel, along each side, that are folded into the latents' channels;
            equal to the grid of the warps.
        last: latents of the last frame after each of these steps, (S, C, H, W); None at the start of a shot.
        links: the tie of each frame to the one before it.
    """

    def __init__(
        self, strengths: Mapping[int, float], grid: int, last: Tensor | None, links: Sequence[Link]
    ) -> None:
        self.steps: Sequence[int] = tuple(strengths)
        self._strengths = strengths
        self._grid = grid
        self._last = last
        self._links = links
        self._pulled: list[Tensor] = []

    def __call__(self, step: int, clean: Tensor) -> Tensor:
        """Pull the clean latents of consecutive frames after a step, and return them, (N, C, h, w)."""
        last = None if self._last is None else self._last[self.steps.index(step)]
        pulled = []
        for link, latents in zip(self._links, clean, strict=True):
            last = latents if last is None else self._pull(link, self._strengths[step], last, latents)
            pulled.append(last)
        self._pulled.append(torch.stack(pulled))
        return self._pulled[-1]

    @property
    def latents(self) -> Tensor:
        """The pulled latents of each frame after each of the steps, (N, S, C, h, w)."""
        return torch.stack(self._pulled, dim=1)

    def _pull(self, link: Link, strength: float, last: Tensor, latents: Tensor) -> Tensor:
        if link.warp is not None and strength > 0:
            own, before = (F.pixel_shuffle(field[None], self._grid) for field in (latents, last))
            pulled = torch.lerp(own, link.warp.fetch(before), strength * link.warp.trust)
            latents = F.pixel_unshuffle(pulled, self._grid)[0]
        if link.held is None:
            return latents
        return torch.where(link.held, last[:, *link.box.slices], latents)
