"""Low-resolution frames and noise -> pixels: noise is added, latents are denoised and decoded."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vidx4.diffusion.denoise import Tie, add_low_res_noise, denoise
from vidx4.diffusion.models import Components
from vidx4.diffusion.options import Settings
from vidx4.temporal.follow import Followed
from vidx4.temporal.noise import Role
from vidx4.video import Box


class Sampler:
    """A model with its settings, applied to frames or to a box of them."""

    def __init__(self, components: Components, settings: Settings) -> None:
        self._components = components
        self._settings = settings

    @property
    def reach(self) -> int | None:
        """How many pixels away an input can change a result; None where every pixel can."""
        reach = self._components.reach
        return None if reach is None else self._settings.num_inference_steps * reach

    @torch.inference_mode()
    def __call__(self, frames: Sequence[Followed], box: Box, tie: Tie | None) -> Tensor:
        """Denoise a box of frames.

        Args:
            frames: all of one size, a multiple of the model's.
            box: what of them is wanted.
            tie: what holds the frames together.

        Returns:
            About [-1, 1], float32, (N, 3, 4h, 4w).
        """
        parts, settings = self._components, self._settings
        low_res = to_signal(torch.stack([frame.low_res[:, *box.slices] for frame in frames]), parts.device)
        noise = self._noise(frames, box, Role.LOW_RES, grid=1)
        seen = add_low_res_noise(low_res, noise, settings.noise_level, parts.low_res_scheduler)
        latents = denoise(
            parts.unet,
            parts.scheduler,
            seen,
            self._latents(frames, box),
            noise_level=settings.noise_level,
            num_inference_steps=settings.num_inference_steps,
            prompt_embeds=parts.prompt_embeds,
            guidance_scale=settings.guidance_scale,
            tie=tie,
        )
        return parts.autoencoder.decode(latents, seen).float()

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
