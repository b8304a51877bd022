"""What a model consists of, and what it brings to a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import torch
from accelerate import cpu_offload

from vidx4.diffusion.denoise import Denoiser, PromptEmbeds
from vidx4.diffusion.models.autoencoder import Autoencoder
from vidx4.diffusion.models.compact_denoiser import Memory
from vidx4.diffusion.options import Speed
from vidx4.temporal.noise import NoiseSpec, Role


@dataclass(frozen=True)
class ModelDefaults:
    """What an option is when the user leaves it to the model."""

    num_inference_steps: int
    guidance_scale: float
    noise_level: int
    consistency: float
    """Where it is needed."""
    scheduler: str | None = None
    """A value of `Scheduler`; None for the one that the model comes with."""
    guidance_stop: float = 1.0
    cache_interval: int = 1
    remembers: bool = True
    """Whether a model that can do so looks back."""


@dataclass(frozen=True)
class Components:
    """A model, ready to denoise on one device."""

    name: str
    unet: Any
    denoiser: Denoiser
    """Evaluates `unet`."""
    autoencoder: Autoencoder
    scheduler: Any
    low_res_scheduler: Any
    prompt_embeds: PromptEmbeds | None
    """None for a model that takes no prompt."""
    max_noise_level: int
    size_multiple: int
    """The sides of what `unet` sees must be multiples of it."""
    reach: int | None
    """How many pixels away an input can change a result of `unet`; None where every pixel can."""
    memory: Memory | None
    """How `unet` sees what the frame before became; None if it takes each frame alone."""
    first_step_is_blind: bool
    """Whether `unet` pays no heed to the latents that it starts from, which are nothing but noise."""
    device: torch.device
    """Where the denoiser runs."""
    has_deep_features: bool
    """Whether `denoiser` can use features of another step again."""
    operations_per_pixel: float
    """Of an evaluation, for a low-resolution pixel; two per multiply-add."""
    gains_by_compiling: bool
    batch_pixels: int
    """Low-resolution pixels that are denoised together."""
    values_per_pixel: int
    """Numbers that `denoiser` holds at once, for each low-resolution pixel; measured on a CPU."""
    is_lessened_by_tiles: bool
    """Whether tiles take less memory than whole frames; measured on a CPU."""
    defaults: Mapping[Speed, ModelDefaults]

    def offload(self) -> None:
        """Keep the denoiser's weights on the host from now on; each layer's are here only while it works."""
        if not hasattr(self.unet, "_hf_hook"):
            _ = self.digest  # computed now and remembered: afterwards there are no weights to read
            cpu_offload(self.unet, self.device)

    @cached_property
    def digest(self) -> str:
        """Of all weights and schedules, wherever they were loaded from."""
        digest = sha256()
        for network in filter(None, (self.unet, self.autoencoder.vae)):
            for name, tensor in sorted(network.state_dict().items()):
                digest.update(name.encode())
                digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        for scheduler in (self.scheduler, self.low_res_scheduler):
            digest.update(scheduler.to_json_string().encode())
        return digest.hexdigest()

    def noise_specs(self, num_inference_steps: int) -> tuple[NoiseSpec, ...]:
        """Return the noise that a frame takes."""
        specs = []
        if self._adds_low_res_noise:
            specs.append(NoiseSpec(Role.LOW_RES, channels=3))
        if not (self.first_step_is_blind and num_inference_steps == 1):
            grid = self.autoencoder.grid
            specs.append(NoiseSpec(Role.LATENTS, self.autoencoder.latent_channels // grid**2, grid))
        return tuple(specs)

    @property
    def _adds_low_res_noise(self) -> bool:
        """Whether a noise level puts noise on the frame; else it only tells `unet` how bad that is."""
        return bool(self.low_res_scheduler.alphas_cumprod[-1] < 1)


@dataclass(frozen=True)
class LoadSettings:
    """Where a model goes, and what it is told."""

    device: torch.device
    dtype: torch.dtype
    prompt: str
    negative_prompt: str


def place(module: Any, device: torch.device) -> Any:
    """Return a network on its device, in the memory format that convolutions like best."""
    return module.requires_grad_(False).eval().to(device, memory_format=torch.channels_last)


def num_parameters(module: Any) -> int:
    """Return the number of a module's parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def num_bytes(module: Any) -> int:
    """Return the bytes of a module's weights; 0 for none."""
    parameters = [] if module is None else module.parameters()
    return sum(parameter.numel() * parameter.element_size() for parameter in parameters)
