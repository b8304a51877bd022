"""Low-resolution frames and noise -> pixels: noise is added, latents are denoised and decoded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from vidx4.diffusion.denoise import Tie, add_low_res_noise, denoise
from vidx4.diffusion.models.components import Components
from vidx4.diffusion.schedulers import make_scheduler
from vidx4.diffusion.settings import Settings
from vidx4.frames import SCALE, Box
from vidx4.temporal.follow import Followed
from vidx4.temporal.motion import Motion
from vidx4.temporal.noise import Role
from vidx4.temporal.warp import Warp


@dataclass(frozen=True)
class Past:
    """What the frame before became, and the way to it."""

    picture: Tensor
    """In [-1, 1], float32, (1, 3, 4H, 4W)."""
    warp: Warp
    """At the picture's own points."""
    trust: Tensor
    """In that way, from 0 to 1, (1, 1, H, W)."""

    @classmethod
    def of(cls, picture: Tensor, motion: Motion, device: torch.device) -> Self:
        """Prepare the past of a frame from what is remembered of the last, in [-1, 1], (1, 3, 4H, 4W)."""
        warp, trust = Warp.of(motion, SCALE, device), motion.backward_trust[None, None].to(device)
        return cls(picture, warp, trust)


class Sampler:
    """A model with its settings, applied to frames or to a box of them."""

    def __init__(self, components: Components, settings: Settings) -> None:
        self._components = components
        self._settings = settings
        self._scheduler = make_scheduler(
            components.scheduler, settings.scheduler, settings.num_inference_steps
        )

    @property
    def reach(self) -> int | None:
        """How many pixels away an input can change a result; None where every pixel can."""
        reach = self._components.reach
        return None if reach is None else self._settings.num_inference_steps * reach

    @torch.inference_mode()
    def __call__(
        self, frames: Sequence[Followed], box: Box, tie: Tie | None, past: Past | None = None
    ) -> Tensor:
        """Denoise a box of frames.

        Args:
            frames: all of one size, a multiple of the model's.
            box: what of them is wanted.
            tie: what holds the frames together.
            past: of the frame, where there is only one; None at the start of a shot, and for models that
                don't remember.

        Returns:
            About [-1, 1], float32, (N, 3, 4h, 4w).
        """
        parts, settings = self._components, self._settings
        low_res = to_signal(torch.stack([frame.low_res[:, *box.slices] for frame in frames]), parts.device)
        seen = self._with_noise(low_res, frames, box)
        latents = denoise(
            parts.denoiser,
            self._scheduler,
            self._conditions(seen, box, past),
            self._latents(frames, box),
            noise_level=settings.noise_level,
            num_inference_steps=settings.num_inference_steps,
            prompt_embeds=parts.prompt_embeds,
            guidance_scale=settings.guidance_scale,
            guidance_stop=settings.guidance_stop,
            cache_interval=settings.cache_interval,
            tie=tie,
        )
        return parts.autoencoder.decode(latents, seen).float()

    def decoded(self, latents: Tensor, frame: Followed) -> Tensor:
        """Return the picture of a frame's clean latents, in [-1, 1], float32, (1, 3, 4H, 4W)."""
        low_res = to_signal(frame.low_res, self._components.device)[None]
        return self._components.autoencoder.decode(latents, low_res).float().clamp(-1, 1)

    def _with_noise(self, low_res: Tensor, frames: Sequence[Followed], box: Box) -> Tensor:
        if Role.LOW_RES not in frames[0].noise:
            return low_res
        noise = self._noise(frames, box, Role.LOW_RES, grid=1)
        return add_low_res_noise(
            low_res, noise, self._settings.noise_level, self._components.low_res_scheduler
        )

    def _conditions(self, seen: Tensor, box: Box, past: Past | None) -> Tensor:
        """Return all that the model sees beside the latents."""
        memory = self._components.memory
        if memory is None:
            return seen
        if past is None:
            return torch.cat([seen, memory.blank(seen)], dim=1)
        moved = past.warp.cropped(box).fetch(past.picture)
        return torch.cat([seen, memory(moved, past.trust[..., *box.slices], seen)], dim=1)

    def _latents(self, frames: Sequence[Followed], box: Box) -> Tensor:
        autoencoder, device = self._components.autoencoder, self._components.device
        if Role.LATENTS not in frames[0].noise:
            return torch.zeros(len(frames), autoencoder.latent_channels, box.height, box.width, device=device)
        return F.pixel_unshuffle(self._noise(frames, box, Role.LATENTS, autoencoder.grid), autoencoder.grid)

    def _noise(self, frames: Sequence[Followed], box: Box, role: Role, grid: int) -> Tensor:
        fields = [frame.noise[role][:, *box.scaled(grid).slices] for frame in frames]
        return torch.stack(fields).to(self._components.device)


def to_signal(frames: Tensor, device: torch.device) -> Tensor:
    """From uint8 or uint16 over its full range to float32 in [-1, 1], any shape."""
    return frames.to(device, torch.float32) / torch.iinfo(frames.dtype).max * 2 - 1
