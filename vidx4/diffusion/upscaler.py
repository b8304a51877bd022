"""The façade: FrameBatch -> FrameBatch, four times larger."""

import logging
import math
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vidx4.diffusion.bicubic import SCALE, enlarge
from vidx4.diffusion.color import keep_colors
from vidx4.diffusion.denoise import add_low_res_noise, denoise
from vidx4.diffusion.device import choose_device, choose_dtype, is_out_of_memory
from vidx4.diffusion.models import Components, choose_model, load
from vidx4.diffusion.picture import Picture
from vidx4.errors import MemoryLimitError, OptionError
from vidx4.temporal.noise import Role, noise_field
from vidx4.video import FrameBatch, Source

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class UpscaleOptions:
    """What decides how a frame looks; None leaves it to the model."""

    model: str = "auto"
    """`auto`, `compact`, `sd-x4`, a hub repository id, or a folder in diffusers format."""
    prompt: str = ""
    negative_prompt: str = ""
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    noise_level: int | None = None
    """Noise added to what the denoiser sees: 0 trusts the source, more lets it restore."""
    seed: int = 0
    strength: float = 1.0
    """Share of the result in a blend with the plain bicubic enlargement."""
    device: str = "auto"
    dtype: str = "auto"

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise OptionError(f"The strength must be between 0 and 1, not {self.strength:g}.")
        if self.num_inference_steps is not None and not 1 <= self.num_inference_steps <= 999:
            raise OptionError(f"The steps must be between 1 and 999, not {self.num_inference_steps}.")
        if self.guidance_scale is not None and not 0 <= self.guidance_scale < math.inf:
            raise OptionError(f"The guidance scale must be 0 or more, not {self.guidance_scale:g}.")
        if self.noise_level is not None and self.noise_level < 0:
            raise OptionError(f"The noise level must not be negative, as {self.noise_level} is.")


class Upscaler:
    """A loaded model with its settings.

    Every frame is denoised from the same noise, so equal frames give equal results, and a frame's result
    depends neither on its neighbours nor, beyond rounding, on the batch that it is computed in.

    >>> import torch
    >>> from vidx4 import FrameBatch, Upscaler
    >>> upscaler = Upscaler.load("compact", device="cpu")
    >>> batch = FrameBatch(torch.zeros(2, 3, 24, 32, dtype=torch.uint8), pts=(0, 1))
    >>> upscaler(batch).data.shape
    torch.Size([2, 3, 96, 128])
    """

    def __init__(self, components: Components, options: UpscaleOptions) -> None:
        self.components = components
        self.options = options
        defaults = components.defaults
        self.num_inference_steps = _or(options.num_inference_steps, defaults.num_inference_steps)
        self.guidance_scale = _or(options.guidance_scale, defaults.guidance_scale)
        self.noise_level = _or(options.noise_level, defaults.noise_level)
        self._check()

    @classmethod
    def load(cls, model: str = "auto", **options: Any) -> Self:
        """Load a model by name; `options` are the other fields of `UpscaleOptions`.

        Raises:
            ModelError: the model can't be had.
            OptionError: options don't fit the model or this machine.
        """
        return cls.from_options(UpscaleOptions(model=model, **options))

    @classmethod
    def from_options(cls, options: UpscaleOptions) -> Self:
        """Load the model that the options ask for; raises as `load`."""
        device = choose_device(options.device)
        name, why = choose_model(options.model, device)
        dtype = choose_dtype(options.dtype, device)
        logger.info("model %s (%s) on %s in %s", name, why, device, str(dtype).removeprefix("torch."))
        try:
            components = load(name, device, dtype, options.prompt, options.negative_prompt)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise MemoryLimitError(f"{device} has too little memory for the model {name}.") from error
        return cls(components, options)

    def _check(self) -> None:
        name, highest = self.components.name, self.components.max_noise_level
        if self.noise_level > highest:
            raise OptionError(f"The model {name} takes noise levels up to {highest}, not {self.noise_level}.")
        if self.components.prompt_embeds is None and self.guidance_scale != 1:
            raise OptionError(f"The model {name} takes no prompt, so there is nothing for guidance to weigh.")

    @property
    def device(self) -> torch.device:
        """Where the denoiser runs."""
        return torch.device(self.components.unet.device)

    def batch_size_for(self, source: Source) -> int:
        """Return how many frames of a video to pass at once, from 1 to 8."""
        return max(1, min(8, self.components.defaults.batch_pixels // (source.width * source.height)))

    def __call__(self, batch: FrameBatch) -> FrameBatch:
        """Enlarge frames four times.

        Returns:
            Frames of the same type at the same pts, (N, 3, 4H, 4W).

        Raises:
            MemoryLimitError: the device has too little memory for the batch.
        """
        highest = torch.iinfo(batch.data.dtype).max
        try:
            pixels = self._enlarge(batch.data.to(self.device, torch.float32) / highest * 2 - 1)
            data = (pixels * highest).round().to("cpu", batch.data.dtype)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise MemoryLimitError(self._too_small_for(batch)) from error
        return FrameBatch(data, batch.pts)

    def _too_small_for(self, batch: FrameBatch) -> str:
        height, width = batch.data.shape[2:]
        if len(batch) == 1:
            return (
                f"{self.device} has too little memory for {width}x{height}: use another --device or --model."
            )
        what = f"{len(batch)} frames of {width}x{height} at once"
        return f"{self.device} has too little memory for {what}: use a smaller --batch-size."

    def picture(self, picture: Image.Image) -> Image.Image:
        """Enlarge a still picture four times, with its transparency, in its own mode where possible."""
        still = Picture.open(picture)
        return still.with_pixels(self(FrameBatch(still.pixels[None], pts=(0,))).data[0])

    @torch.inference_mode()
    def _enlarge(self, low_res: Tensor) -> Tensor:
        """From [-1, 1], (N, 3, H, W), to [0, 1], (N, 3, 4H, 4W)."""
        height, width = low_res.shape[2:]
        upscaled = self._denoise(_pad(low_res, self.components.size_multiple))
        upscaled = upscaled[..., : SCALE * height, : SCALE * width].float()
        enlarged = enlarge(low_res)
        upscaled = keep_colors(upscaled, enlarged)
        return (torch.lerp(enlarged, upscaled, self.options.strength) / 2 + 0.5).clamp(0, 1)

    def _denoise(self, low_res: Tensor) -> Tensor:
        """From clean pixels to denoised ones, both in [-1, 1]; sides are multiples of `size_multiple`."""
        parts = self.components
        seen = add_low_res_noise(
            low_res, self._noise(Role.LOW_RES, 3, low_res), self.noise_level, parts.low_res_scheduler
        )
        latents = denoise(
            parts.unet,
            parts.scheduler,
            seen,
            self._noise(Role.LATENTS, parts.autoencoder.latent_channels, low_res),
            noise_level=self.noise_level,
            num_inference_steps=self.num_inference_steps,
            prompt_embeds=parts.prompt_embeds,
            guidance_scale=self.guidance_scale,
        )
        return parts.autoencoder.decode(latents, seen)

    def _noise(self, role: Role, channels: int, like: Tensor) -> Tensor:
        return noise_field(self.options.seed, role, channels, *like.shape[2:]).to(like.device)


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _pad(low_res: Tensor, multiple: int) -> Tensor:
    """Repeat edges at the bottom and right up to a multiple: nothing is resized, and nothing moves."""
    bottom, right = (-side % multiple for side in low_res.shape[2:])
    return F.pad(low_res, (0, right, 0, bottom), mode="replicate")
