"""The components of a model, and its defaults for the options of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import torch
from accelerate import cpu_offload

from vidx4.diffusion.denoise import Denoiser, PromptEmbeds
from vidx4.diffusion.models.autoencoder import Autoencoder, TiledAutoencoder
from vidx4.diffusion.models.compact_denoiser import Memory
from vidx4.diffusion.options import Speed
from vidx4.temporal.noise import NoiseSpec, Role


@dataclass(frozen=True)
class ModelDefaults:
    """Values of the options that the user leaves to the model."""

    num_inference_steps: int
    guidance_scale: float
    noise_level: int
    """Noise level for a clean source, and for one that nothing is known of."""
    consistency: float
    """Consistency in runs whose frames need to be tied."""
    scheduler: str | None = None
    """A value of `Scheduler`; None for the one that the model comes with."""
    guidance_stop: float = 1.0
    cache_interval: int = 1
    level_share: float = 1.0
    """How much the noise level rises with the one that would suit `compact`."""
    texture: float = 0.0
    remembers: bool = True
    """Whether the model looks back at the frame before, if it can."""


@dataclass(frozen=True)
class Components:
    """A model, ready to denoise on one device."""

    name: str
    """Name that the user gave the model by."""
    unet: Any
    """Network of the denoiser."""
    denoiser: Denoiser
    """Evaluates `unet`."""
    autoencoder: Autoencoder
    """Decodes latents."""
    scheduler: Any
    """Scheduler of diffusers for the latents."""
    low_res_scheduler: Any
    """Scheduler of diffusers for the noise on the low-resolution picture."""
    prompt_embeds: PromptEmbeds | None
    """Embeddings of the prompts; None for a model that takes none."""
    max_noise_level: int
    """Highest noise level of the low-resolution picture that the model was trained with."""
    size_multiple: int
    """Number of which both sides of the input of `unet` must be multiples."""
    reach: int | None
    """Distance in pixels at which an input affects a result of `unet`; None if every pixel does."""
    memory: Memory | None
    """Turns the result of the frame before into input of `unet`; None if it sees each frame alone."""
    first_step_is_blind: bool
    """Whether `unet` ignores the latents of the first step, which are pure noise."""
    device: torch.device
    """Device that the denoiser runs on."""
    has_texture: bool
    """Whether `denoiser` lets the texture be chosen."""
    has_deep_features: bool
    """Whether `denoiser` can reuse deep features of another step."""
    operations_per_pixel: float
    """Operations of an evaluation for a low-resolution pixel; a multiply-add counts as two."""
    gains_by_compiling: bool
    """Whether compiling makes `denoiser` faster."""
    batch_pixels: int
    """Number of low-resolution pixels that are fastest to denoise at once."""
    values_per_pixel: int
    """Numbers that `denoiser` holds on a GPU at its peak for a low-resolution pixel; simulated."""
    host_values_per_pixel: int
    """The same on a CPU; measured."""
    is_lessened_by_tiles: bool
    """Whether tiles take less memory than whole frames."""
    defaults: Mapping[Speed, ModelDefaults]
    """Default values of the options for each speed."""

    @property
    def tiled_autoencoder(self) -> TiledAutoencoder | None:
        """The autoencoder if it has weights, and decodes in tiles to bound its memory; otherwise None."""
        return self.autoencoder if isinstance(self.autoencoder, TiledAutoencoder) else None

    def offload(self) -> None:
        """Keep the denoiser's weights in host memory from now on, except those of the layer at work."""
        if not hasattr(self.unet, "_hf_hook"):
            _ = self.digest  # computed now and remembered: afterwards there are no weights to read
            cpu_offload(self.unet, self.device)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all weights and schedules, wherever they were loaded from, in hexadecimal digits."""
        digest = sha256()
        tiled = self.tiled_autoencoder
        for network in (self.unet,) if tiled is None else (self.unet, tiled.vae):
            for name, tensor in sorted(network.state_dict().items()):
                digest.update(name.encode())
                digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        for scheduler in (self.scheduler, self.low_res_scheduler):
            digest.update(scheduler.to_json_string().encode())
        return digest.hexdigest()

    def noise_specs(self, num_inference_steps: int) -> tuple[NoiseSpec, ...]:
        """Return the kinds of noise that a frame needs."""
        specs = []
        if self._adds_low_res_noise:
            specs.append(NoiseSpec(Role.LOW_RES, channels=3))
        if not (self.first_step_is_blind and num_inference_steps == 1):
            grid = self.autoencoder.grid
            specs.append(NoiseSpec(Role.LATENTS, self.autoencoder.latent_channels // grid**2, grid))
        return tuple(specs)

    @property
    def _adds_low_res_noise(self) -> bool:
        """Whether a noise level adds noise to the frame; otherwise it only tells `unet` of its quality."""
        return bool(self.low_res_scheduler.alphas_cumprod[-1] < 1)


@dataclass(frozen=True)
class LoadSettings:
    """The device, precision and prompts to load a model with."""

    device: torch.device
    dtype: torch.dtype
    """Precision of the denoiser."""
    prompt: str
    negative_prompt: str


def place(module: Any, device: torch.device) -> Any:
    """Return a network on a device, ready for inference, in the memory format that convolutions favour."""
    return module.requires_grad_(False).eval().to(device, memory_format=torch.channels_last)


def num_parameters(module: Any) -> int:
    """Return the number of a module's parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def num_bytes(module: Any) -> int:
    """Return the number of bytes of a module's weights."""
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
