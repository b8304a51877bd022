"""The whole path that runs on a CUDA GPU, on a simulated one: no operation mixes devices or types."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.simulated_gpu import SimulatedGPU
from vidx4.diffusion.memory import Fit
from vidx4.diffusion.options import Scheduler, Speed
from vidx4.diffusion.upscaler import Upscaler
from vidx4.frames import FrameBatch
from vidx4.temporal.mode import Temporal
from vidx4.temporal.state import ShotState

Loaded = Callable[..., Upscaler]
MODELS = ("sd-x4 topology", "compact")
DTYPES = ("float16", "bfloat16")
SPEEDS = {Speed.QUALITY: 20, Speed.BALANCED: 12, Speed.FAST: 4}


@pytest.fixture(scope="module")
def gpu() -> Iterator[SimulatedGPU]:
    with SimulatedGPU() as gpu:
        yield gpu


@pytest.fixture(scope="module")
def loaded(gpu: SimulatedGPU, tiny_folder: Path) -> Loaded:
    """Return a function that loads each model only once in each precision."""

    @cache
    def load(model: str, dtype: str) -> Upscaler:
        prompt = {} if model == "compact" else {"prompt": "a film"}
        return Upscaler.load(model, device="cuda", dtype=dtype, **prompt)

    def with_options(model: str = "sd-x4 topology", dtype: str = "float16", **options: Any) -> Upscaler:
        upscaler = load(str(tiny_folder) if model == "sd-x4 topology" else model, dtype)
        gpu.reset()
        return upscaler.with_options(replace(upscaler.options, **options))

    return with_options


def clip(
    num_frames: int = 3,
    width: int = 47,
    height: int = 29,
    dtype: torch.dtype = torch.uint8,
    num_changed: int = 16,
) -> FrameBatch:
    """Return frames of which the second differs from the first at the left; the others equal the second."""
    generator = torch.Generator().manual_seed(3)
    data = torch.randint(0, 256, (1, 3, height, width), generator=generator).repeat(num_frames, 1, 1, 1)
    data[1:, ..., :num_changed] = 255 - data[1:, ..., :num_changed]
    return FrameBatch((data * (torch.iinfo(dtype).max // 255)).to(dtype), tuple(range(num_frames)))


def check(upscaler: Upscaler, frames: FrameBatch, state: ShotState | None = None) -> ShotState:
    """Enlarge frames, and check the result's shape, type and place."""
    upscaled = upscaler(frames, state)
    height, width = frames.data.shape[2:]
    assert upscaled.batch.data.shape == (len(frames), 3, 4 * height, 4 * width)
    assert upscaled.batch.data.dtype == frames.data.dtype
    assert type(upscaled.batch.data) is torch.Tensor
    assert upscaled.state is not None
    assert all(
        field.is_cuda for field in (upscaled.state.latents, upscaled.state.hidden) if field is not None
    )
    return upscaled.state


@pytest.mark.parametrize("speed", SPEEDS)
def test_each_speed_with_its_own_steps(speed: Speed, gpu: SimulatedGPU, loaded: Loaded) -> None:
    upscaler = loaded(speed=speed)
    assert upscaler.settings.num_inference_steps == SPEEDS[speed]
    check(upscaler, clip(1))
    assert all(gpu.operations[stage] > 0 for stage in ("denoise", "decode"))


@pytest.mark.parametrize(("speed", "scheduler", "dtype"), [*product(SPEEDS, Scheduler, DTYPES)])
def test_each_speed_scheduler_and_precision(
    speed: Speed, scheduler: Scheduler, dtype: str, gpu: SimulatedGPU, loaded: Loaded
) -> None:
    upscaler = loaded(dtype=dtype, speed=speed, scheduler=scheduler, num_inference_steps=3)
    check(upscaler, clip(1))
    assert upscaler.components.unet.dtype == getattr(torch, dtype)
    assert gpu.waits["denoise"] <= 1, "no step waits; the prompts are compared once"
    assert gpu.waits["decode"] == 0


OPTIONS: dict[str, dict[str, Any]] = {
    "guidance throughout": {"guidance_scale": 7.0, "guidance_stop": 1.0},
    "no guidance": {"guidance_scale": 1.0},
    "guidance that stops": {"guidance_stop": 0.5, "num_inference_steps": 4},
    "caching": {"cache_interval": 2, "num_inference_steps": 4},
    "caching as guidance stops": {"cache_interval": 3, "guidance_stop": 0.4, "num_inference_steps": 5},
    "tiles": {"tile_size": 32},
    "blended with bicubic": {"strength": 0.5},
    "nearly equal pixels": {"reuse_threshold": 3.0},
    **{f"temporal {mode}": {"temporal": mode} for mode in Temporal},
}
OF_SD_X4 = {"guidance_scale", "guidance_stop", "cache_interval"}
"""Options that `compact` lacks."""


@pytest.mark.parametrize(
    ("model", "what"),
    [(MODELS[0], what) for what in OPTIONS]
    + [(MODELS[1], what) for what, options in OPTIONS.items() if not OF_SD_X4 & options.keys()],
)
def test_each_option(model: str, what: str, loaded: Loaded) -> None:
    upscaler = loaded(model, **{"num_inference_steps": 2} | OPTIONS[what])
    frames = clip()
    state = check(upscaler, FrameBatch(frames.data[:2], (0, 1)))
    check(upscaler, FrameBatch(frames.data[2:], (2,)), state)


@pytest.mark.parametrize(("model", "dtype"), [*product(MODELS, DTYPES)])
def test_frames_of_16_bits(model: str, dtype: str, loaded: Loaded) -> None:
    check(loaded(model, dtype, num_inference_steps=1), clip(2, dtype=torch.uint16))


@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 50), (65, 9)])
@pytest.mark.parametrize("model", MODELS)
def test_odd_sizes(model: str, width: int, height: int, loaded: Loaded) -> None:
    check(loaded(model, num_inference_steps=1), clip(2, width, height))


@pytest.mark.parametrize("tile_size", [None, 32])
@pytest.mark.parametrize("model", MODELS)
def test_a_shot_continues_from_a_file(
    model: str, tile_size: int | None, loaded: Loaded, tmp_path: Path
) -> None:
    upscaler, frames = loaded(model, num_inference_steps=2, tile_size=tile_size), clip(4)
    state = check(upscaler, FrameBatch(frames.data[:2], (0, 1)))
    state.save(tmp_path / "state.safetensors")
    loaded_state = ShotState.load(tmp_path / "state.safetensors", upscaler.components.device)
    check(upscaler, FrameBatch(frames.data[2:].flip(3), (2, 3)), loaded_state)


@pytest.mark.parametrize(("model", "tile_size", "width"), [(MODELS[0], 64, 112), (MODELS[1], None, 200)])
def test_what_is_unchanged_is_not_computed_again(
    model: str, tile_size: int | None, width: int, gpu: SimulatedGPU, loaded: Loaded
) -> None:
    upscaler = loaded(model, num_inference_steps=1, tile_size=tile_size, temporal="fixed")
    frames = clip(3, width, 48)
    state = check(upscaler, FrameBatch(frames.data[:1], (0,)))
    whole = gpu.operations["denoise"]
    gpu.reset()
    check(upscaler, FrameBatch(frames.data[1:], (1, 2)), state)
    assert 0 < gpu.operations["denoise"] < 0.75 * whole


def test_equal_prompts_guide_nothing(gpu: SimulatedGPU, tiny_folder: Path) -> None:
    """The same embedding stands for both, so no number has to be read to see that."""
    embeds = Upscaler.load(str(tiny_folder), device="cuda", num_inference_steps=1).components.prompt_embeds
    assert embeds is not None
    assert embeds.positive is embeds.negative
    assert not embeds.guides(9.0)


def test_pictures(loaded: Loaded) -> None:
    for channels, dtype in product((1, 3), (np.uint8, np.uint16)):
        enlarged = loaded("compact").picture(np.zeros((20, 30, channels), dtype))
        assert enlarged.shape == (80, 120, channels)
        assert enlarged.dtype == dtype


def test_offloaded_weights_take_no_memory_of_the_device(gpu: SimulatedGPU, tiny_folder: Path) -> None:
    upscaler = Upscaler.load(str(tiny_folder), device="cuda", num_inference_steps=1)
    before = gpu.memory.live
    weights = sum(each.numel() * each.element_size() for each in upscaler.components.unet.parameters())
    fit = replace(upscaler.fit, is_offloaded=True)
    check(Upscaler(upscaler.components, upscaler.options, fit), clip(1))
    assert gpu.memory.live < before - 0.9 * weights


def test_a_job_is_fitted_to_the_device(gpu: SimulatedGPU, loaded: Loaded) -> None:
    fitted = loaded().fitted(640, 480, num_frames=100)
    assert fitted.fit.tile_size is None
    gpu.total_memory = 3 * 10**9
    try:
        fitted = loaded().fitted(640, 480, num_frames=100)
    finally:
        gpu.total_memory = 24 * 10**9
    assert fitted.fit.tile_size is not None


def test_memory_that_runs_out_makes_batches_and_tiles_smaller(loaded: Loaded) -> None:
    upscaler, frames = loaded(num_inference_steps=1), clip(2, 160, 64)
    upscaler = Upscaler(upscaler.components, upscaler.options, Fit(1, None, 128))
    state = check(upscaler, FrameBatch(frames.data[:1], (0,)))
    unet = upscaler.components.unet

    def refuse(_: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        if inputs[0].shape[3] > 128:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    hook = unet.conv_in.register_forward_pre_hook(refuse)
    try:
        check(upscaler, FrameBatch(frames.data[1:], (1,)), state)
    finally:
        hook.remove()
    assert upscaler.fit.tile_size == 128
