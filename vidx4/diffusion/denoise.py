"""The denoising loop of the Stable Diffusion x4 Upscaler, written out."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor


@dataclass(frozen=True)
class PromptEmbeds:
    """What the text encoder makes of the prompts; the text encoder itself is not needed any more."""

    positive: Tensor
    """What the picture should be, (1, tokens, width)."""
    negative: Tensor
    """What it should not be, same shape."""

    def guides(self, guidance_scale: float) -> bool:
        """Whether classifier-free guidance changes the prediction: equal prompts have no difference."""
        return guidance_scale > 1 and not self._are_equal

    @cached_property
    def _are_equal(self) -> bool:
        return torch.equal(self.positive, self.negative)

    @cached_property
    def both(self) -> Tensor:
        """The negative prompt, then the positive one, (2, tokens, width)."""
        return torch.cat([self.negative, self.positive])


class Prediction(NamedTuple):
    """What a denoiser makes of a sample."""

    output: Tensor
    """What the scheduler steps by, (N, C, H, W)."""
    features: Tensor | None
    """What a later step may use again; None where the denoiser has nothing of the kind."""


class Denoiser(Protocol):
    """Predicts, from noisy latents and what is known of the picture, where they come from."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the samples that it takes."""
        ...

    def compile(self, batch_size: int | None) -> None:
        """Spend a minute so that each evaluation of up to so many frames takes less; None undoes that."""
        ...

    def __call__(
        self, sample: Tensor, t: Tensor, noise_level: int, prompts: Tensor | None, features: Tensor | None
    ) -> Prediction:
        """Evaluate the network.

        Args:
            sample: latents, then the conditions, for each prompt one after another, (P * N, C, H, W).
            t: the timestep, a scalar on the CPU: nothing waits for a GPU.
            noise_level: of the low-resolution picture.
            prompts: one or two of those it was made for, (P, tokens, width); None where it takes none.
            features: of an earlier step, to be used in place of computing them.
        """
        ...


class PlainDenoiser:
    """A network with the signature of diffusers' `UNet2DConditionModel`, which computes all in each step."""

    def __init__(self, network: Any) -> None:
        self._network = network

    @property
    def dtype(self) -> torch.dtype:
        """Of the samples that it takes."""
        return cast(torch.dtype, self._network.dtype)

    def compile(self, batch_size: int | None) -> None:
        """Do nothing: shapes differ from frame to frame, so there is nothing to be gained."""

    def __call__(
        self, sample: Tensor, t: Tensor, noise_level: int, prompts: Tensor | None, features: Tensor | None
    ) -> Prediction:
        """Evaluate the network; see `Denoiser`. `features` have no influence."""
        labels = torch.full((len(sample),), noise_level, device=sample.device)
        embeds = None
        if prompts is not None:
            embeds = prompts.repeat_interleave(len(sample) // len(prompts), dim=0)
        (output,) = self._network(
            sample, t, encoder_hidden_states=embeds, class_labels=labels, return_dict=False
        )
        return Prediction(output, None)


class Tie(Protocol):
    """What ties the frames of a batch to the frames before them, in some of the steps."""

    @property
    def steps(self) -> Sequence[int]:
        """The steps in which it acts."""
        ...

    def __call__(self, step: int, clean: Tensor) -> Tensor:
        """Return what the clean latents predicted in a step shall be, (N, C, H, W)."""
        ...


def add_low_res_noise(low_res: Tensor, noise: Tensor, noise_level: int, low_res_scheduler: Any) -> Tensor:
    """Add the noise that tells the denoiser how far to trust the low-resolution picture.

    Computed in float32: in half precision the coefficients are off by 4 % (float16) and 20 % (bfloat16) at
    noise level 20.

    Args:
        low_res: pixels in [-1, 1], float32, (N, 3, H, W).
        noise: standard normal, (1 or N, 3, H, W).
        noise_level: index into the noise schedule of `low_res_scheduler`.
        low_res_scheduler: a diffusers scheduler.
    """
    product = low_res_scheduler.alphas_cumprod[noise_level]  # on the CPU: nothing waits for a GPU
    return float(product**0.5) * low_res + float((1 - product) ** 0.5) * noise


def denoise(
    unet: Denoiser,
    scheduler: Any,
    low_res: Tensor,
    latents: Tensor,
    *,
    noise_level: int,
    num_inference_steps: int,
    prompt_embeds: PromptEmbeds | None,
    guidance_scale: float,
    guidance_stop: float = 1.0,
    cache_interval: int = 1,
    tie: Tie | None = None,
) -> Tensor:
    """Run the reverse process from noise to clean latents.

    Classifier-free guidance (Ho and Salimans 2022) evaluates the negative prompt first, then the positive
    one, in one batch. Latents stay in float32 between the steps, whatever the precision of `unet`.

    Args:
        unet: predicts from latents and low-resolution channels, a timestep and the noise level.
        scheduler: a diffusers scheduler that matches the prediction type of `unet`.
        low_res: noisy pixels about [-1, 1] from `add_low_res_noise`, and what else `unet` is to see,
            (N, 3 or more, H, W).
        latents: standard normal, float32, (1 or N, C, H, W); shared by all frames where it is 1.
        noise_level: that of `low_res`.
        num_inference_steps: evaluations of `unet` per frame (twice as many with guidance).
        prompt_embeds: None for a model that takes no prompt.
        guidance_scale: weight of the positive over the negative prompt; no guidance up to 1.
        guidance_stop: share of the steps, from the first on, that are guided (Kynkäänniemi et al. 2024: the
            last need it least).
        cache_interval: of so many steps, one computes features anew that the others use again (DeepCache, Ma
            et al. 2024), if `unet` has such.
        tie: changes the clean latents that a step predicts, not the noise.

    Returns:
        Clean latents, float32, (N, C, H, W).
    """
    low_res = low_res.to(unet.dtype)
    scheduler.set_timesteps(num_inference_steps)
    latents = latents.expand(len(low_res), -1, -1, -1) * scheduler.init_noise_sigma
    is_guided = prompt_embeds is not None and prompt_embeds.guides(guidance_scale)
    num_guided = round(guidance_stop * num_inference_steps) if is_guided else 0
    features = None
    for index, t in enumerate(scheduler.timesteps):
        prompts = None
        if prompt_embeds is not None:
            prompts = prompt_embeds.both if index < num_guided else prompt_embeds.positive
        scaled = scheduler.scale_model_input(latents, t).to(unet.dtype)
        sample = torch.cat([scaled, low_res], dim=1)
        sample = torch.cat([sample] * (1 if prompts is None else len(prompts)))
        if features is not None:
            features = None if index % cache_interval == 0 else features[-len(sample) :]
        output, features = unet(sample, t, noise_level, prompts, features)
        predicted = _guided(output.to(latents.dtype), len(low_res), guidance_scale)
        stepped = scheduler.step(predicted, t, latents, return_dict=False)[0]
        if tie is not None and index in tie.steps:
            clean = clean_latents(scheduler, predicted, latents, t)
            stepped = stepped + _signal_after(scheduler, index) * (tie(index, clean) - clean)
        latents = stepped
    return latents


def clean_latents(scheduler: Any, predicted: Tensor, latents: Tensor, t: Tensor) -> Tensor:
    """Return the clean latents that a prediction means (Salimans and Ho 2022, appendix D).

    Args:
        scheduler: a diffusers scheduler that knows `alphas_cumprod`.
        predicted: of the scheduler's prediction type, (N, C, H, W).
        latents: that it was predicted from, same shape.
        t: the timestep, on the CPU.
    """
    product = scheduler.alphas_cumprod[t]
    signal, noise = float(product**0.5), float((1 - product) ** 0.5)
    match scheduler.config.prediction_type:
        case "v_prediction":
            return signal * latents - noise * predicted
        case "epsilon":
            return (latents - noise * predicted) / signal
    return predicted


def _guided(output: Tensor, num_frames: int, guidance_scale: float) -> Tensor:
    if len(output) == num_frames:
        return output
    negative, positive = output.chunk(2)
    return negative + guidance_scale * (positive - negative)


def _signal_after(scheduler: Any, index: int) -> float:
    """Return the weight of the clean latents in what a step makes (Song et al. 2021, equation 12)."""
    if index + 1 < len(scheduler.timesteps):
        product = scheduler.alphas_cumprod[scheduler.timesteps[index + 1]]
    else:
        product = getattr(scheduler, "final_alpha_cumprod", 1.0)  # multistep solvers end without noise
    return float(product**0.5)
