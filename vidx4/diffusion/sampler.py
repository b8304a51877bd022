"""Turn low-resolution frames and noise into pixels: add the noise, denoise latents, decode them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from vidx4.diffusion.denoise import (
    Denoiser,
    PlainDenoiser,
    SeeingDenoiser,
    Tie,
    add_low_res_noise,
    denoise,
)
from vidx4.diffusion.models.components import Components
from vidx4.diffusion.models.networks.autoencoder import Autoencoder
from vidx4.diffusion.models.networks.tiny_autoencoder import TinyAutoencoder
from vidx4.diffusion.schedulers import make_scheduler
from vidx4.diffusion.settings import Settings
from vidx4.frames import SCALE, Box
from vidx4.temporal.follow import Followed
from vidx4.temporal.motion import Motion
from vidx4.temporal.noise import Role
from vidx4.temporal.warp import Warp
from vidx4.transfer import to_device


@dataclass(frozen=True)
class Past:
    """What a model remembers of the frame before, and the way back to it."""

    picture: Tensor
    """Result of the frame before, in [-1, 1], float32, (1, 3, 4H, 4W)."""
    hidden: Tensor
    """Hidden state after the frame before, float32, (1, D, H, W)."""
    fine: Warp
    """Way back to the result, at full resolution."""
    coarse: Warp
    """Way back to the hidden state, at low resolution."""

    @classmethod
    def of(cls, picture: Tensor, hidden: Tensor, motion: Motion, device: torch.device) -> Self:
        """Return the past of a frame.

        Args:
            picture: the result of the frame before, in [-1, 1], (1, 3, 4H, 4W).
            hidden: the hidden state after the frame before, (D, H, W).
            motion: the motion between the two frames.
            device: the model's device.
        """
        fine, coarse = (Warp.of(motion, grid, device) for grid in (SCALE, 1))
        return cls(picture, hidden[None].float(), fine, coarse)


@dataclass(frozen=True)
class Shown:
    """What a model is shown of the frame before as a picture; see `recall`."""

    picture: Tensor
    """Result of the frame before, moved along to this one, about [-1, 1], float32, (1, 3, 4H, 4W)."""

    def cropped(self, box: Box) -> Tensor:
        """Return what belongs to a box of the frame, in low-resolution pixels, (1, 3, 4h, 4w)."""
        return self.picture[..., *box.scaled(SCALE).slices]


class Sampled(NamedTuple):
    """The result of denoising a box of frames."""

    pixels: Tensor
    """Pixels, about [-1, 1], float32, (N, 3, 4h, 4w)."""
    hidden: Tensor | None
    """Hidden states, in the model's type, (N, D, h, w); None if later frames don't need them."""


class Sampler:
    """A model and its settings, applied to frames or to a box of them."""

    def __init__(self, components: Components, settings: Settings) -> None:
        self._components = components
        self._settings = settings
        self._denoiser = components.denoiser
        if isinstance(self._denoiser, PlainDenoiser) and components.has_texture:
            self._denoiser = self._denoiser.textured(settings.texture)
        self._scheduler = make_scheduler(
            components.scheduler, settings.scheduler, settings.num_inference_steps
        )

    @property
    def reach(self) -> int | None:
        """Distance in pixels at which an input affects a result; None if every pixel does."""
        reach = self._components.reach
        return None if reach is None else self._settings.num_inference_steps * reach

    @torch.inference_mode()
    def __call__(
        self, frames: Sequence[Followed], box: Box, tie: Tie | None, past: Past | Shown | None = None
    ) -> Sampled:
        """Denoise a box of frames.

        Args:
            frames: consecutive frames of one size, a multiple of the model's.
            box: the part of the frames to denoise, (h, w).
            tie: the tie between the frames.
            past: the past of a single frame; None at the start of a shot, and for models that don't look
                back.
        """
        components, settings = self._components, self._settings
        boxed = torch.stack([frame.low_res[:, *box.slices] for frame in frames])
        seen = self._with_noise(to_signal(boxed, components.device), frames, box)
        denoiser, autoencoder = self._seeing(past.cropped(box) if isinstance(past, Shown) else None)
        denoised = denoise(
            denoiser,
            self._scheduler,
            self._conditions(seen, box, past if isinstance(past, Past) else None),
            self._latents(frames, box),
            noise_level=settings.noise_level,
            num_inference_steps=settings.num_inference_steps,
            prompt_embeds=components.prompt_embeds,
            guidance_scale=settings.guidance_scale,
            guidance_stop=settings.guidance_stop,
            cache_interval=settings.cache_interval,
            tie=tie,
        )
        pixels = autoencoder.decode(denoised.latents, seen).float()
        return Sampled(pixels, denoised.hidden if settings.remembers else None)

    def _seeing(self, picture: Tensor | None) -> tuple[Denoiser, Autoencoder]:
        """Return what denoises and decodes a frame, both shown a picture of the frame before, if any."""
        autoencoder = self._components.autoencoder
        if picture is None:
            return self._denoiser, autoencoder
        assert isinstance(self._denoiser, SeeingDenoiser)
        assert isinstance(autoencoder, TinyAutoencoder)
        return self._denoiser.seeing(picture), autoencoder.seeing(picture)

    def decoded(self, latents: Tensor, frame: Followed) -> Tensor:
        """Return the picture that a frame's clean latents stand for, in [-1, 1], float32, (1, 3, 4H, 4W)."""
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
        """Return the channels that the model sees besides the latents, (N, 3 or more, h, w)."""
        memory = self._components.memory
        if memory is None:
            return seen
        if past is None:
            return torch.cat([seen, memory.blank(seen)], dim=1)
        fine, coarse = past.fine.cropped(box), past.coarse.cropped(box)
        moved, hidden = fine.fetch(past.picture), coarse.fetch_features(past.hidden)
        return torch.cat([seen, memory(moved, hidden, coarse.trust, seen)], dim=1)

    def _latents(self, frames: Sequence[Followed], box: Box) -> Tensor:
        autoencoder, device = self._components.autoencoder, self._components.device
        if Role.LATENTS not in frames[0].noise:
            return torch.zeros(len(frames), autoencoder.latent_channels, box.height, box.width, device=device)
        return F.pixel_unshuffle(self._noise(frames, box, Role.LATENTS, autoencoder.grid), autoencoder.grid)

    def _noise(self, frames: Sequence[Followed], box: Box, role: Role, grid: int) -> Tensor:
        fields = [frame.noise[role][:, *box.scaled(grid).slices] for frame in frames]
        return to_device(torch.stack(fields), self._components.device)


def to_signal(frames: Tensor, device: torch.device) -> Tensor:
    """Convert uint8 or uint16 over its full range to float32 in [-1, 1] on a device, in any shape."""
    return to_device(frames, device).float() / torch.iinfo(frames.dtype).max * 2 - 1
