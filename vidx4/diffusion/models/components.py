"""The components of a model, and its defaults for the options of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from hashlib import sha256
from typing import Any, Self

import torch
from accelerate import cpu_offload
from torch import Tensor

from vidx4.diffusion.denoise import Denoiser, PromptEmbeds
from vidx4.diffusion.models.networks.autoencoder import Autoencoder, TiledAutoencoder, TrainedAutoencoder
from vidx4.diffusion.models.networks.compact_denoiser import Memory
from vidx4.diffusion.models.networks.tiny_autoencoder import TinyAutoencoder
from vidx4.diffusion.models.operations import Operations
from vidx4.diffusion.options import ColorFix, Recall, Speed, UpscaleOptions
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
    color_fix: str = ColorFix.WAVELET
    remembers: bool = True
    """Whether the model looks back at the frame before, if it can."""
    recall: Recall | None = None
    """How a model that is shown its last result looks back; None for other models."""

    def overridden(self, options: UpscaleOptions) -> Self:
        """Return these values with those in place that the user gave, the noise level apart."""
        names = {field.name for field in fields(self)} - {"noise_level"}
        given = {name: value for name in names if (value := getattr(options, name, None)) is not None}
        return replace(self, **given)


@dataclass(frozen=True)
class Family:
    """What is known of the models of an architecture before one is loaded."""

    defaults: Mapping[Speed, ModelDefaults]
    """Default values of the options for each speed, the best first."""
    operations: Operations
    """Operations of the published model."""
    takes_prompts: bool = False
    has_memory: bool = False
    """Whether the model looks back at the frame before."""

    def steps(self, options: UpscaleOptions) -> ModelDefaults:
        """Return the defaults at the speed of some options, with what they give themselves."""
        return self.defaults[Speed(options.speed).preset].overridden(options)

    def operations_of_frame(self, options: UpscaleOptions, width: int, height: int) -> float:
        """Return the operations for a frame, whose size is in low-resolution pixels."""
        steps = self.steps(options)
        is_guided = self.takes_prompts and options.prompt != options.negative_prompt
        return self.operations.of_frame(
            steps,
            width,
            height,
            is_guided=is_guided and steps.guidance_scale > 1,
            tile_size=options.tile_size,
        )


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
    """Scheduler of diffusers for the noise on the low-resolution picture; None if none is added."""
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
    operations: Operations
    """Operations of `denoiser`, and of decoding."""
    gains_by_compiling: bool
    """Whether compiling makes `denoiser` faster."""
    batch_pixels: int
    """Number of low-resolution pixels that are fastest to denoise at once."""
    values_per_pixel: int
    """Numbers that `denoiser` holds at its peak on a GPU for a low-resolution pixel; counted."""
    host_values_per_pixel: int
    """The same on a CPU; measured."""
    is_lessened_by_tiles: bool
    """Whether tiles take less memory than whole frames."""
    defaults: Mapping[Speed, ModelDefaults]
    """Default values of the options for each speed."""
    sees_last_result: bool = False
    """Whether `denoiser` and `autoencoder` are shown the raw result of the frame before; see `recall`."""
    takes_prompts: bool = True
    """Whether the prompts are the user's; not if there are none, or if the model has one of its own."""
    takes_one_step: bool = False
    """Whether `unet` enlarges a picture in one evaluation, and knows neither steps nor noise."""
    caution_about_tiles: str = ""
    """What tiles change that blending does not hide, in a sentence; empty if that is not known of any."""

    @property
    def looks_back(self) -> bool:
        """Whether the model sees something of the frame before."""
        return self.memory is not None or self.sees_last_result

    @property
    def trained_autoencoder(self) -> TrainedAutoencoder | None:
        """The autoencoder if it has weights; otherwise None."""
        return self.autoencoder if isinstance(self.autoencoder, TiledAutoencoder | TinyAutoencoder) else None

    @property
    def tiled_autoencoder(self) -> TiledAutoencoder | None:
        """The autoencoder if it has weights, and decodes in tiles to bound its memory; otherwise None."""
        return self.autoencoder if isinstance(self.autoencoder, TiledAutoencoder) else None

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the denoiser."""
        return self.unet.dtype  # type: ignore[no-any-return]

    def offload(self) -> None:
        """Keep the denoiser's weights in host memory from now on, except those of the layer at work."""
        if not self._is_offloaded:
            _ = self.digest  # computed now and remembered: afterwards there are no weights to read
            cpu_offload(self.unet, self.device, state_dict=self._host_weights)

    @property
    def _is_offloaded(self) -> bool:
        return hasattr(self.unet, "_hf_hook")

    @cached_property
    def _host_weights(self) -> dict[str, Tensor]:
        return {name: weight.to("cpu") for name, weight in self.unet.state_dict().items()}

    def in_precision(self, dtype: torch.dtype) -> "Components":
        """Return a copy in a higher precision, whose autoencoder computes in float32.

        The weights of its denoiser are in host memory: on a GPU, it has to be offloaded.
        """
        weights = self._host_weights if self._is_offloaded else self.unet.state_dict()
        with torch.device("meta"):  # takes no memory
            unet = type(self.unet).from_config(self.unet.config)
        unet.load_state_dict({name: each.to("cpu") for name, each in weights.items()}, assign=True)
        # The network's own conversion leaves whole numbers, such as indices, as they are.
        unet = place(unet.to(dtype), torch.device("cpu"))
        prompts = None if self.prompt_embeds is None else self.prompt_embeds.to(dtype)
        trained = self.trained_autoencoder
        return replace(
            self,
            unet=unet,
            denoiser=self.denoiser.like(unet, prompts),
            autoencoder=self.autoencoder if trained is None else trained.in_float32(),
            prompt_embeds=prompts,
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all weights and schedules, wherever they were loaded from, in hexadecimal digits."""
        digest = sha256()
        trained = self.trained_autoencoder
        for network in (self.unet,) if trained is None else (self.unet, trained.vae):
            for name, tensor in sorted(network.state_dict().items()):
                digest.update(name.encode())
                digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
        for scheduler in (self.scheduler, self.low_res_scheduler):
            if scheduler is not None:
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
        return self.low_res_scheduler is not None and bool(self.low_res_scheduler.alphas_cumprod[-1] < 1)


@dataclass(frozen=True)
class LoadSettings:
    """The device, precision and prompts to load a model with."""

    device: torch.device
    dtype: torch.dtype
    """Precision of the denoiser."""
    prompt: str
    negative_prompt: str
    decoder: str | None = None
    """What decodes the latents; None for the model's own. See `decoders`."""


def place(module: Any, device: torch.device) -> Any:
    """Return a network on a device, ready for inference, in the memory format that convolutions favour."""
    return module.requires_grad_(False).eval().to(device, memory_format=torch.channels_last)


def num_parameters(module: Any) -> int:
    """Return the number of a module's parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def num_bytes(module: Any) -> int:
    """Return the number of bytes of a module's weights."""
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
