"""Copies between the host and a GPU: nothing waits but whoever needs the frames."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.simulated_gpu import SimulatedGPU
from vidx4.diffusion.upscaler import Upscaler
from vidx4.frames import SCALE, FrameBatch
from vidx4.temporal.state import ShotState
from vidx4.transfer import Downloads, to_device

HEIGHT, WIDTH = 33, 47
WAITS_OF_A_LAUNCH = 1
"""How often the host waits for the device before it can launch the next batch."""


def frames(number: int, dtype: torch.dtype = torch.uint8, start: int = 0) -> FrameBatch:
    data = torch.randint(0, torch.iinfo(dtype).max, (number, 3, HEIGHT, WIDTH)).to(dtype)
    data[1:, :, :8] = data[:1, :, :8]  # part of the picture stands still
    return FrameBatch(data, tuple(range(start, start + number)))


@pytest.fixture(params=["compact", "sd-x4 topology"])
def upscaler(request: pytest.FixtureRequest, simulated_gpu: SimulatedGPU, tiny_folder: Path) -> Upscaler:
    model = "compact" if request.param == "compact" else str(tiny_folder)
    upscaler = Upscaler.load(model, device="cuda", num_inference_steps=1 if model == "compact" else 3)
    # What is computed once for all frames may wait.
    upscaler(frames(2))
    return upscaler


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16], ids=str)
def test_launching_a_batch_waits_only_to_see_that_it_is_finite(
    upscaler: Upscaler, simulated_gpu: SimulatedGPU, dtype: torch.dtype
) -> None:
    simulated_gpu.reset()
    first, second = frames(2, dtype), frames(2, dtype, start=2)
    state = None
    for batch in (first, second):
        followed = upscaler.follow(batch, None if state is None else state.last)
        launched = upscaler.launch(followed, state)
        state = launched.state
    assert simulated_gpu.waits.total() == 2 * WAITS_OF_A_LAUNCH
    assert launched.download is not None
    assert launched.arrived().download is None
    assert simulated_gpu.waits.total() == 2 * WAITS_OF_A_LAUNCH + 1


def test_only_finished_pixels_are_copied_to_the_host(upscaler: Upscaler, simulated_gpu: SimulatedGPU) -> None:
    simulated_gpu.reset()
    upscaler(frames(3))
    assert simulated_gpu.copies.total() == 3 * 3 * SCALE**2 * HEIGHT * WIDTH
    assert simulated_gpu.waits.total() == WAITS_OF_A_LAUNCH + 1


def test_a_state_goes_back_to_where_it_came_from(
    upscaler: Upscaler, simulated_gpu: SimulatedGPU, tmp_path: Path
) -> None:
    state = upscaler(frames(2)).state
    assert state is not None
    assert state.upscaled.device.type == "cuda"
    state.save(tmp_path / "state.safetensors")
    loaded = ShotState.load(tmp_path / "state.safetensors", "cuda")
    assert loaded.upscaled.device.type == "cuda"
    assert upscaler(frames(2, start=2), loaded).batch.data.shape[0] == 2


def test_tiles_wait_once_for_a_batch_too(simulated_gpu: SimulatedGPU, tiny_folder: Path) -> None:
    upscaler = Upscaler.load(str(tiny_folder), device="cuda", num_inference_steps=2, tile_size=32)
    state = upscaler(frames(2)).state
    simulated_gpu.reset()
    upscaler(frames(2, start=2), state)
    assert simulated_gpu.waits.total() <= 2


def test_frames_of_a_cpu_are_there_at_once() -> None:
    upscaler = Upscaler.load("compact", device="cpu", dtype="float32")
    launched = upscaler.launch(upscaler.follow(frames(2)), None)
    assert launched.download is None
    assert launched.arrived() == replace(launched)


def test_a_cpu_has_its_tensors_already() -> None:
    pixels = torch.zeros(3, 4, 5, dtype=torch.uint8)
    assert to_device(pixels, torch.device("cpu")) is pixels
    download = Downloads(torch.device("cpu")).start([pixels, pixels])
    assert download.is_done
    assert torch.equal(download.data, torch.stack([pixels, pixels]))
