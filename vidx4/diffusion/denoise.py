"""The denoising loop of the Stable Diffusion x4 Upscaler, written out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

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
        return guidance_scale > 1 and not torch.equal(self.positive, self.negative)


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
    levels = torch.full((len(low_res),), noise_level, device=low_res.device)
    return cast(Tensor, low_res_scheduler.add_noise(low_res, noise.expand_as(low_res), levels))


def denoise(
    unet: Any,
    scheduler: Any,
    low_res: Tensor,
    latents: Tensor,
    *,
    noise_level: int,
    num_inference_steps: int,
    prompt_embeds: PromptEmbeds | None,
    guidance_scale: float,
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
        tie: changes the clean latents that a step predicts, not the noise; needs a DDIM scheduler.

    Returns:
        Clean latents, float32, (N, C, H, W).
    """
    num_frames = len(low_res)
    guided = prompt_embeds is not None and prompt_embeds.guides(guidance_scale)
    num_copies = 2 if guided else 1
    embeds = None if prompt_embeds is None else _per_frame(prompt_embeds, guided, num_frames)
    labels = torch.full((num_copies * num_frames,), noise_level, device=low_res.device)
    low_res = low_res.to(unet.dtype)

    scheduler.set_timesteps(num_inference_steps, device=low_res.device)
    latents = latents.expand(num_frames, -1, -1, -1) * scheduler.init_noise_sigma
    for index, t in enumerate(scheduler.timesteps):
        scaled = scheduler.scale_model_input(latents, t).to(unet.dtype)
        sample = torch.cat([torch.cat([scaled, low_res], dim=1)] * num_copies)
        predicted = unet(sample, t, encoder_hidden_states=embeds, class_labels=labels, return_dict=False)[
            0
        ].to(latents.dtype)
        if guided:
            negative, positive = predicted.chunk(2)
            predicted = negative + guidance_scale * (positive - negative)
        step = scheduler.step(predicted, t, latents)
        latents = step.prev_sample
        if tie is not None and index in tie.steps:
            clean = step.pred_original_sample
            latents = latents + _signal_after(scheduler, int(t)) * (tie(index, clean) - clean)
    return latents


def _signal_after(scheduler: Any, t: int) -> float:
    """Return the weight of the clean latents in what a DDIM step makes (Song et al. 2021, equation 12)."""
    previous = t - scheduler.config.num_train_timesteps // scheduler.num_inference_steps
    product = scheduler.alphas_cumprod[previous] if previous >= 0 else scheduler.final_alpha_cumprod
    return float(product**0.5)


def _per_frame(prompt_embeds: PromptEmbeds, guided: bool, num_frames: int) -> Tensor:
    kinds = [prompt_embeds.negative] if guided else []
    return torch.cat([kind.expand(num_frames, -1, -1) for kind in (*kinds, prompt_embeds.positive)])
