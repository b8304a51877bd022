"""The denoising loop of the Stable Diffusion x4 Upscaler."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import torch
from torch import Tensor


@dataclass(frozen=True)
class PromptEmbeds:
    """The text encoder's output for both prompts, after which the encoder itself is not needed."""

    positive: Tensor
    """Embedding of the prompt that the picture should follow, (1, tokens, width)."""
    negative: Tensor
    """Embedding of the prompt that the picture should avoid, same shape."""

    def guides(self, guidance_scale: float) -> bool:
        """Return whether classifier-free guidance changes the prediction; equal prompts cancel out."""
        return guidance_scale > 1 and not self._are_equal

    @cached_property
    def _are_equal(self) -> bool:
        return torch.equal(self.positive, self.negative)

    def to(self, dtype: torch.dtype) -> "PromptEmbeds":
        """Return the embeddings in a type."""
        return PromptEmbeds(self.positive.to(dtype), self.negative.to(dtype))

    @property
    def are_finite(self) -> bool:
        """Whether they hold nothing but finite numbers."""
        return bool(self.both.isfinite().all())

    @cached_property
    def both(self) -> Tensor:
        """Embeddings of the negative prompt, then the positive one, (2, tokens, width)."""
        return torch.cat([self.negative, self.positive])


class Prediction(NamedTuple):
    """The result of evaluating a denoiser."""

    output: Tensor
    """Prediction of the scheduler's prediction type, (N, C, H, W)."""
    features: Tensor | None
    """Deep features that a later step may reuse; None if the denoiser has none."""
    hidden: Tensor | None = None
    """Hidden state for the next frame, (N, D, H, W); None if the denoiser has none."""


class Denoised(NamedTuple):
    """The result of the reverse diffusion process."""

    latents: Tensor
    """Clean latents, float32, (N, C, H, W)."""
    hidden: Tensor | None
    """Hidden state of the first step, in the denoiser's type, (N, D, H, W); None if the denoiser has none."""


class Denoiser(Protocol):
    """A network that predicts clean latents, or the noise in them, from noisy ones and the picture."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of the samples that it takes."""
        ...

    def like(self, network: Any, prompt_embeds: PromptEmbeds | None) -> "Denoiser":
        """Return a denoiser that evaluates a network in the same way.

        Args:
            network: a network of the same kind.
            prompt_embeds: the prompts in its type; None if it takes none.
        """
        ...

    def compile(self, batch_size: int | None) -> None:
        """Compile the network for faster evaluation.

        Args:
            batch_size: the most frames that will be evaluated at once; None to evaluate it uncompiled.
        """
        ...

    def __call__(
        self, sample: Tensor, t: Tensor, noise_level: int, prompts: Tensor | None, features: Tensor | None
    ) -> Prediction:
        """Evaluate the network.

        Args:
            sample: latents followed by the conditions as channels, once for each prompt, (P * N, C, H, W).
            t: the timestep, a scalar on the CPU, so that reading it doesn't wait for a GPU.
            noise_level: the noise level of the low-resolution picture.
            prompts: one or both of the prompts that the denoiser was made for, (P, tokens, width); None if it
                takes none.
            features: deep features of an earlier step to reuse; None to compute them.
        """
        ...


@runtime_checkable
class SeeingDenoiser(Denoiser, Protocol):
    """A denoiser that may be shown the result of the frame before."""

    def seeing(self, picture: Tensor) -> Denoiser:
        """Return a denoiser that sees the frame before.

        Args:
            picture: the result of the frame before, moved along to this one, about [-1, 1], (1, 3, 4H, 4W).
        """
        ...


class PlainDenoiser:
    """A denoiser that evaluates all of a network in every step.

    Args:
        network: a network with the signature of diffusers' `UNet2DConditionModel`, which may return a hidden
            state after its prediction.
        texture: how much texture is wanted, from 0 to 1; None for a network that knows no such choice.
    """

    def __init__(self, network: Any, texture: float | None = None) -> None:
        self._network = network
        self._texture = texture

    def textured(self, texture: float) -> "PlainDenoiser":
        """Return a denoiser that evaluates the same network for another texture."""
        return PlainDenoiser(self._network, texture)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the samples that it takes."""
        return cast(torch.dtype, self._network.dtype)

    def like(self, network: Any, prompt_embeds: PromptEmbeds | None) -> "PlainDenoiser":
        """Return a denoiser that evaluates a network for the same texture; see `Denoiser`."""
        return PlainDenoiser(network, self._texture)

    def compile(self, batch_size: int | None) -> None:
        """Do nothing: sizes differ from frame to frame, so compiling would gain nothing."""

    def __call__(
        self, sample: Tensor, t: Tensor, noise_level: int, prompts: Tensor | None, features: Tensor | None
    ) -> Prediction:
        """Evaluate the network; see `Denoiser`. `features` are ignored."""
        labels = torch.full((len(sample),), noise_level, device=sample.device)
        embeds = None
        if prompts is not None:
            embeds = prompts.repeat_interleave(len(sample) // len(prompts), dim=0)
        chosen = {}
        if self._texture is not None:
            chosen["texture"] = torch.full((len(sample),), self._texture, device=sample.device)
        output, *hidden = self._network(
            sample, t, encoder_hidden_states=embeds, class_labels=labels, return_dict=False, **chosen
        )
        return Prediction(output, None, *hidden)


class Tie(Protocol):
    """A tie between the frames of a batch and the frames before them, applied in some of the steps."""

    @property
    def steps(self) -> Sequence[int]:
        """Indices of the steps in which it acts."""
        ...

    def __call__(self, step: int, clean: Tensor) -> Tensor:
        """Return the clean latents to use in place of those predicted in a step, (N, C, H, W)."""
        ...


def add_low_res_noise(low_res: Tensor, noise: Tensor, noise_level: int, low_res_scheduler: Any) -> Tensor:
    """Add noise to the low-resolution picture; the more, the less the denoiser relies on it.

    Args:
        low_res: pixels in [-1, 1], float32, (N, 3, H, W).
        noise: standard normal noise, (1 or N, 3, H, W).
        noise_level: index into the noise schedule of `low_res_scheduler`.
        low_res_scheduler: a diffusers scheduler.
    """
    # In float32, unlike diffusers: in half precision the coefficients are off by 4 % (float16) and 20 %
    # (bfloat16) at noise level 20. The schedule is on the CPU, so nothing waits for a GPU.
    product = low_res_scheduler.alphas_cumprod[noise_level]
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
) -> Denoised:
    """Run the reverse diffusion process from noise to clean latents.

    Classifier-free guidance (Ho and Salimans 2022) evaluates the negative and the positive prompt, in this
    order, in one batch. Latents stay in float32 between the steps, whatever the precision of `unet`.

    Args:
        unet: a denoiser that sees the latents, `low_res`, the timestep and the noise level.
        scheduler: a diffusers scheduler that matches the prediction type of `unet`.
        low_res: noisy pixels from `add_low_res_noise`, about [-1, 1], followed by any other conditions of
            `unet`, (N, 3 or more, H, W).
        latents: standard normal noise, float32, (1 or N, C, H, W); a single one is shared by all frames.
        noise_level: the noise level of `low_res`.
        num_inference_steps: number of steps; a guided one evaluates `unet` on twice as many rows.
        prompt_embeds: the prompts; None for a model that takes none.
        guidance_scale: weight of the positive over the negative prompt; up to 1, there is no guidance.
        guidance_stop: share of the steps, from the first on, that are guided (Kynkäänniemi et al. 2024: the
            last need it least).
        cache_interval: number of steps that share the deep features of `unet`, if it has any; the first of
            them computes the features (DeepCache, Ma et al. 2024).
        tie: a tie between frames, which changes the clean latents that a step predicts, but not its noise.

    Returns:
        Clean latents, and the hidden state of the first step: later steps add texture of the seed's, which
        would build up over a shot.
    """
    low_res = low_res.to(unet.dtype)
    scheduler.set_timesteps(num_inference_steps)
    latents = latents.expand(len(low_res), -1, -1, -1) * scheduler.init_noise_sigma
    is_guided = prompt_embeds is not None and prompt_embeds.guides(guidance_scale)
    num_guided = round(guidance_stop * num_inference_steps) if is_guided else 0
    features = hidden = None
    for index, t in enumerate(scheduler.timesteps):
        prompts = _prompts(prompt_embeds, is_guided=index < num_guided)
        scaled = scheduler.scale_model_input(latents, t).to(unet.dtype)
        sample = torch.cat([scaled, low_res], dim=1)
        if prompts is not None and len(prompts) > 1:
            sample = torch.cat([sample] * len(prompts))
        if features is not None:
            # Where guidance has just stopped, only the rows of the positive prompt, the last ones, go on.
            features = None if index % cache_interval == 0 else features[-len(sample) :]
        output, features, state = unet(sample, t, noise_level, prompts, features)
        if index == 0 and state is not None:
            hidden = state[-len(low_res) :]  # as for features: the rows of the positive prompt
        predicted = _guided(output.to(latents.dtype), len(low_res), guidance_scale)
        stepped = scheduler.step(predicted, t, latents, return_dict=False)[0]
        if tie is not None and index in tie.steps:
            # A step gives weighted clean latents and noise: the change of the former can be added afterwards.
            clean = clean_latents(scheduler, predicted, latents, t)
            stepped = stepped + _signal_after(scheduler, index) * (tie(index, clean) - clean)
        latents = stepped
    return Denoised(latents, hidden)


def clean_latents(scheduler: Any, predicted: Tensor, latents: Tensor, t: Tensor) -> Tensor:
    """Return the clean latents that a prediction stands for (Salimans and Ho 2022, appendix D).

    Args:
        scheduler: a diffusers scheduler with `alphas_cumprod`.
        predicted: a prediction of the scheduler's prediction type, (N, C, H, W).
        latents: the noisy latents that it was made from, same shape.
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


def _prompts(embeds: PromptEmbeds | None, *, is_guided: bool) -> Tensor | None:
    if embeds is None:
        return None
    return embeds.both if is_guided else embeds.positive


def _guided(output: Tensor, num_frames: int, guidance_scale: float) -> Tensor:
    if len(output) == num_frames:
        return output
    negative, positive = output.chunk(2)
    return negative + guidance_scale * (positive - negative)


def _signal_after(scheduler: Any, index: int) -> float:
    """Return the weight of the clean latents in the result of a step (Song et al. 2021, equation 12)."""
    if index + 1 < len(scheduler.timesteps):
        product = scheduler.alphas_cumprod[scheduler.timesteps[index + 1]]
    else:
        product = getattr(scheduler, "final_alpha_cumprod", 1.0)  # multistep solvers end noise-free
    return float(product**0.5)
