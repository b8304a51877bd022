"""Results on a CUDA GPU are as near to those of the CPU as half precision allows."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from vidx4.diffusion.denoise import denoise
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import MemoryLimitError
from vidx4.frames import FrameBatch
from vidx4.temporal.state import ShotState

pytestmark = pytest.mark.gpu


@pytest.fixture
def frames() -> FrameBatch:
    generator = torch.Generator().manual_seed(2)
    coarse = torch.rand(2, 3, 6, 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (48, 64), mode="bicubic").clamp(0, 1)
    return FrameBatch((smooth * 255).to(torch.uint8), pts=(0, 1))


@pytest.fixture(params=["compact", "sd-x4 topology"])
def model(request: pytest.FixtureRequest, tiny_folder: Path) -> str:
    return "compact" if request.param == "compact" else str(tiny_folder)


@pytest.mark.parametrize(("dtype", "levels"), [("float32", 1.0), ("float16", 2.0), ("bfloat16", 4.0)])
def test_agrees_with_the_cpu(model: str, dtype: str, levels: float, frames: FrameBatch) -> None:
    exact = Upscaler.load(model, device="cpu", dtype="float32", num_inference_steps=3)(frames).batch
    fast = Upscaler.load(model, device="cuda", dtype=dtype, num_inference_steps=3)(frames).batch
    assert (exact.data.float() - fast.data.float()).abs().mean() < levels


def test_the_same_seed_gives_the_same_bits(model: str, frames: FrameBatch) -> None:
    upscaler = Upscaler.load(model, device="cuda", num_inference_steps=3)
    assert torch.equal(upscaler(frames).batch.data, upscaler(frames).batch.data)


@pytest.fixture
def little_memory() -> Iterator[Callable[[int], None]]:
    """Return a function that limits the test to so many more bytes of the GPU."""
    total = torch.cuda.mem_get_info()[1]

    def leave(size: int) -> None:
        torch.cuda.empty_cache()
        used = torch.cuda.memory_reserved()
        torch.cuda.set_per_process_memory_fraction((used + size) / total)

    yield leave
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_a_batch_that_does_not_fit_is_split(
    model: str, little_memory: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    data = torch.randint(0, 256, (8, 3, 240, 320), dtype=torch.uint8)
    upscaler = Upscaler.load(model, device="cuda", num_inference_steps=1, temporal="off")
    upscaler(FrameBatch(data[:1], (0,)))
    peak = torch.cuda.max_memory_allocated() - torch.cuda.memory_allocated()
    little_memory(3 * peak)
    upscaler(FrameBatch(data, tuple(range(8))))
    assert upscaler.fit.batch_size < 8
    assert "cuda" in caplog.text


def test_a_frame_that_does_not_fit_is_an_error(little_memory: Callable[[int], None]) -> None:
    upscaler = Upscaler.load("compact", device="cuda")
    little_memory(16 * 2**20)
    with pytest.raises(MemoryLimitError, match="--device"):
        upscaler(FrameBatch(torch.zeros(1, 3, 1080, 1920, dtype=torch.uint8), (0,)))


def test_offloaded_weights_change_no_bit(tiny_folder: Path, frames: FrameBatch) -> None:
    expected, actual = (Upscaler.load(str(tiny_folder), device="cuda", num_inference_steps=3) for _ in "ab")
    actual.components.offload()
    assert torch.equal(actual(frames).batch.data, expected(frames).batch.data)


def test_no_step_waits_for_the_gpu(tiny_folder: Path) -> None:
    components = Upscaler.load(str(tiny_folder), device="cuda", prompt="a dog").components
    low_res, latents = (torch.randn(1, channels, 32, 32, device="cuda") for channels in (3, 4))
    options: dict[str, Any] = {"noise_level": 20, "num_inference_steps": 4, "guidance_scale": 5.0}

    def run() -> None:
        embeds = components.prompt_embeds
        denoise(components.denoiser, components.scheduler, low_res, latents, prompt_embeds=embeds, **options)

    with torch.inference_mode():
        run()  # embeddings are computed once
        torch.cuda.set_sync_debug_mode("error")
        try:
            run()
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16], ids=str)
def test_batches_that_are_launched_ahead_give_the_same_frames(
    model: str, dtype: torch.dtype, frames: FrameBatch
) -> None:
    scale = torch.iinfo(dtype).max // 255
    data = (frames.data.int() * scale).to(dtype).repeat(4, 1, 1, 1)
    data[1:, :, :16] = data[:1, :, :16]  # this part stands still, and its result is kept
    batches = [FrameBatch(data[i : i + 2], (i, i + 1)) for i in range(0, 8, 2)]
    upscaler = Upscaler.load(model, device="cuda", num_inference_steps=1 if model == "compact" else 3)
    state, expected = None, []
    for batch in batches:
        upscaled = upscaler(batch, state)
        state = upscaled.state
        expected.append(upscaled.batch.data)
    state, launched, last = None, [], None
    for batch in batches:
        followed = upscaler.follow(batch, last)
        launched.append(upscaler.launch(followed, state))
        state, last = launched[-1].state, followed.last
    for each, data in zip(launched, expected, strict=True):
        assert torch.equal(each.arrived().batch.data, data)


@pytest.mark.parametrize("options", [{}, {"tile_size": 48}], ids=str)
def test_a_loaded_state_continues_bit_for_bit(
    model: str, options: dict[str, Any], frames: FrameBatch, tmp_path: Path
) -> None:
    upscaler = Upscaler.load(model, device="cuda", num_inference_steps=3, **options)
    first, second = (FrameBatch(frames.data[i : i + 1], pts=(i,)) for i in (0, 1))
    state = upscaler(first).state
    assert state is not None
    state.save(tmp_path / "state.safetensors")
    loaded = ShotState.load(tmp_path / "state.safetensors", torch.device("cuda"))
    assert torch.equal(upscaler(second, loaded).batch.data, upscaler(second, state).batch.data)


@pytest.mark.parametrize("temporal", ["off", "fixed", "moving"])
def test_temporal_modes_agree_with_the_cpu(model: str, temporal: str, frames: FrameBatch) -> None:
    results = [
        Upscaler.load(model, device=device, dtype="float32", num_inference_steps=3, temporal=temporal)(frames)
        for device in ("cpu", "cuda")
    ]
    assert (results[0].batch.data.float() - results[1].batch.data.float()).abs().mean() < 1
