"""Frames enlarged by sd-x4 at its real size: by diffusers' pipeline, by vidx4's loop, by the whole upscaler.

Each function carries out one `Task` and is meant for a process of its own, whose memory it measures.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scripts.bench.architecture import (
    REAL,
    Architecture,
    silence_libraries,
    unet_operations,
    vae_operations,
)
from scripts.bench.measure import matrix_rate, peak_memory, reset_peak_memory, synchronize
from scripts.bench.pictures import pan
from vidx4 import FrameBatch, Upscaler
from vidx4.diffusion.denoise import add_low_res_noise, denoise
from vidx4.diffusion.models.networks import compiled
from vidx4.diffusion.models.networks.unet import StagedUNet

GUIDANCE = 9.0
NOISE_LEVEL = 20
NUM_RUNS = 2
"""Runs of a task; the faster one counts, since the first one warms up."""


@dataclass(frozen=True)
class Task:
    """One frame, or a few, for sd-x4 to enlarge in a process of its own."""

    model: Path
    width: int
    height: int
    num_inference_steps: int
    dtype: torch.dtype
    device: torch.device
    prompt: str = ""
    negative_prompt: str = ""
    batch_size: int | None = 1
    """Frames that the whole upscaler gets at once; None for its own choice."""
    is_compiled: bool = False
    """Whether vidx4's denoiser is compiled first, which is not timed."""
    compiler: str = "inductor"
    """The backend of `torch.compile` that compiles it."""
    architecture: Architecture = REAL
    """The size of the networks in the model's folder."""

    @property
    def is_guided(self) -> bool:
        """Whether guidance changes anything."""
        return self.prompt != self.negative_prompt

    def floor(self, rate: float) -> float:
        """Return the seconds that a frame would take at so many operations per second.

        The attention of the autoencoder does not count: decoding in tiles avoids most of it, though the
        picture is then not the same.
        """
        decoding = vae_operations(self.width, self.height, self.architecture, with_attention=False)
        return self.denoising_floor(rate) + decoding / rate

    def denoising_floor(self, rate: float) -> float:
        """Return the seconds of `floor` without decoding."""
        evaluations = self.num_inference_steps * (2 if self.is_guided else 1)
        return evaluations * unet_operations(self.width, self.height, self.architecture) / rate


@dataclass(frozen=True)
class Result:
    """The time and memory of a task, and its picture."""

    seconds: float
    """Seconds per frame."""
    peak_memory: int
    rate: float
    """Operations per second of a matrix product, measured right after the task."""
    denoising: float | None = None
    """Seconds before latents are decoded."""
    picture: Tensor | None = None
    """In [0, 1], float32, (1, 3, 4H, 4W)."""


def by_diffusers(task: Task) -> Result:
    """Enlarge a frame by the pipeline of diffusers."""
    silence_libraries()
    from diffusers import StableDiffusionUpscalePipeline

    pipeline = StableDiffusionUpscalePipeline.from_pretrained(task.model, dtype=task.dtype)
    pipeline = pipeline.to(task.device)
    pipeline.set_progress_bar_config(disable=True)
    embeds = pipeline.encode_prompt(task.prompt, task.device, 1, True, task.negative_prompt)
    low_res, _, latents = _inputs(task)
    decode = pipeline.vae.decode

    def enlarge(on_clean: Callable[[], None]) -> Tensor:
        def decode_clean(*args: Any, **kwargs: Any) -> Any:
            on_clean()
            return decode(*args, **kwargs)

        pipeline.vae.decode = decode_clean
        pictures: Tensor = pipeline(
            image=low_res,
            prompt_embeds=embeds[0],
            negative_prompt_embeds=embeds[1],
            latents=latents.to(task.dtype),
            generator=torch.Generator().manual_seed(0),
            num_inference_steps=task.num_inference_steps,
            guidance_scale=GUIDANCE,
            noise_level=NOISE_LEVEL,
            output_type="pt",
        ).images
        return pictures

    return _measured(enlarge, task)


@torch.inference_mode()
def by_denoising_loop(task: Task) -> Result:
    """Enlarge a frame by vidx4's denoising loop, from the noise that diffusers would draw."""
    parts = load_upscaler(task).components
    if task.is_compiled:
        assert isinstance(parts.denoiser, StagedUNet)
        compiled.BACKEND = task.compiler
        parts.denoiser.compile(1)
    low_res, noise, latents = _inputs(task)

    def enlarge(on_clean: Callable[[], None]) -> Tensor:
        seen = add_low_res_noise(2 * low_res - 1, noise, NOISE_LEVEL, parts.low_res_scheduler)
        clean = denoise(
            parts.denoiser,
            parts.scheduler,
            seen,
            latents,
            noise_level=NOISE_LEVEL,
            num_inference_steps=task.num_inference_steps,
            prompt_embeds=parts.prompt_embeds,
            guidance_scale=GUIDANCE,
        ).latents
        on_clean()
        return (parts.autoencoder.decode(clean, seen) * 0.5 + 0.5).clamp(0, 1)

    return _measured(enlarge, task)


def by_upscaler(task: Task) -> Result:
    """Enlarge three batches of a shot with vidx4's defaults; the last one counts."""
    upscaler = load_upscaler(task)
    upscaler = upscaler.fitted(task.width, task.height, batch_size=task.batch_size)
    size = upscaler.fit.batch_size
    frames, state, seconds = pan(3 * size, task.width, task.height), None, 0.0
    reset_peak_memory(task.device)
    for start in range(0, len(frames), size):
        batch = FrameBatch(frames[start : start + size], tuple(range(start, start + size)))
        begin = time.perf_counter()
        state = upscaler(batch, state).state  # the result is on the CPU, so the GPU is done
        seconds = time.perf_counter() - begin
    return Result(seconds / size, peak_memory(task.device), matrix_rate(task.device, task.dtype))


def load_upscaler(task: Task, **options: Any) -> Upscaler:
    """Load the model of a task."""
    silence_libraries()
    return Upscaler.load(
        str(task.model),
        device=str(task.device),
        dtype=str(task.dtype).removeprefix("torch."),
        num_inference_steps=task.num_inference_steps,
        prompt=task.prompt,
        negative_prompt=task.negative_prompt,
        **options,
    )


def _inputs(task: Task) -> tuple[Tensor, Tensor, Tensor]:
    """Return a frame in [0, 1], the noise that diffusers draws first from seed 0, and initial latents.

    All are float32, but the noise is drawn in the task's precision, as diffusers does.
    """
    low_res = pan(1, task.width, task.height) / 255
    noise = torch.randn(low_res.shape, generator=torch.Generator().manual_seed(0), dtype=task.dtype)
    shape = 1, 4, task.height, task.width
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(task.dtype)
    return low_res.to(task.device), noise.to(task.device).float(), latents.to(task.device).float()


def _measured(enlarge: Callable[[Callable[[], None]], Tensor], task: Task) -> Result:
    """Time a function that calls its argument when the latents are clean."""
    device = task.device
    reset_peak_memory(device)
    fastest, denoising = float("inf"), 0.0
    for _ in range(NUM_RUNS):
        times = [_now(device)]
        picture = enlarge(lambda times=times: times.append(_now(device)))  # type: ignore[misc]
        times.append(_now(device))
        if times[-1] - times[0] < fastest:
            fastest, denoising = times[-1] - times[0], times[1] - times[0]
    peak = peak_memory(device)
    return Result(fastest, peak, matrix_rate(device, task.dtype), denoising, picture.float().cpu())


def _now(device: torch.device) -> float:
    synchronize(device)
    return time.perf_counter()
