"""Clean latents that follow the motion from frame to frame."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vidx4.frames import Box
from vidx4.temporal.warp import Warp


@dataclass(frozen=True)
class Link:
    """What ties a frame, or a box of it, to the frame before."""

    box: Box
    warp: Warp | None = None
    """None where nothing is there to follow."""
    held: Tensor | None = None
    """Where everything that the model sees is as it was, so the result is the last one, bool, (h, w)."""


class Propagation:
    """Pulls the clean latents that a denoiser predicts towards those of the frame before, along the motion.

    The recurrent latent propagation of Zhou et al. 2024 ("Upscale-A-Video", equation 6), with three changes.
    It only looks back, so no result depends on where a batch of frames ends. Latents are warped by a cubic
    kernel, on the grid that they unfold to. And it pulls less where the motion is trusted less.

    Args:
        strengths: of the denoising steps in which it acts, ascending: from 0, where latents are only kept, to
            1, where the last frame's are taken wherever they can be had.
        grid: points per low-resolution pixel, along each side, that are folded into the latents' channels;
            that of the warps.
        last: the latents of the frame before in each of the steps, (S, C, H, W); None at the start of a shot.
        links: what ties each frame to the one before it.
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
        """Return the clean latents of consecutive frames after a step, pulled, (N, C, h, w)."""
        last = None if self._last is None else self._last[self.steps.index(step)]
        pulled = []
        for link, latents in zip(self._links, clean, strict=True):
            last = latents if last is None else self._pull(link, self._strengths[step], last, latents)
            pulled.append(last)
        self._pulled.append(torch.stack(pulled))
        return self._pulled[-1]

    @property
    def latents(self) -> Tensor:
        """What came of it: the latents of each frame in each of the steps, (N, S, C, h, w)."""
        return torch.stack(self._pulled, dim=1)

    def _pull(self, link: Link, strength: float, last: Tensor, latents: Tensor) -> Tensor:
        if link.warp is not None and strength > 0:
            own, before = (F.pixel_shuffle(field[None], self._grid) for field in (latents, last))
            pulled = torch.lerp(own, link.warp.fetch(before), strength * link.warp.trust)
            latents = F.pixel_unshuffle(pulled, self._grid)[0]
        if link.held is None:
            return latents
        return torch.where(link.held, last[:, *link.box.slices], latents)
