"""The same code on a CUDA GPU: as near to the CPU's result as half precision allows."""

from pathlib import Path
from typing import Any

import pytest
import torch

from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import MemoryLimitError
from vidx4.temporal.state import ShotState
from vidx4.video import FrameBatch

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


def test_too_large_a_batch_is_a_clear_error(frames: FrameBatch) -> None:
    upscaler = Upscaler.load("compact", device="cuda")
    free, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction((total - free + 64 * 2**20) / total)
    try:
        with pytest.raises(MemoryLimitError, match="--batch-size"):
            upscaler(FrameBatch(frames.data.repeat(1, 1, 40, 40), frames.pts))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize("options", [{}, {"tile_size": 48}, {"steadiness": 0.5}], ids=str)
def test_a_saved_state_goes_on_as_if_it_had_never_stopped(
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
def test_ties_agree_with_the_cpu(model: str, temporal: str, frames: FrameBatch) -> None:
    results = [
        Upscaler.load(model, device=device, dtype="float32", num_inference_steps=3, temporal=temporal)(frames)
        for device in ("cpu", "cuda")
    ]
    assert (results[0].batch.data.float() - results[1].batch.data.float()).abs().mean() < 1
