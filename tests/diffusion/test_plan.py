"""The plan of a GPU's memory is near to what the simulation of the real architecture shows."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.simulated_gpu import SimulatedGPU
from tests.simulated_gpu.frames import Cards
from vidx4.diffusion.footprint import GPUFootprint
from vidx4.diffusion.footprints import known_footprints
from vidx4.diffusion.memory import CONTEXT_BYTES
from vidx4.diffusion.upscaler import Upscaler
from vidx4.frames import FrameBatch

GB = 10**9
CARDS = (6, 8, 12, 16, 24, 80)
FEW_CARDS = (8, 24)
"""Those that large frames are tried on: to simulate one takes a minute. `scripts.bench plan` tries all."""
SIZES = [(320, 240), (480, 360), (640, 480), (720, 576)]
LARGE = [(1280, 720), (1920, 1080)]


@pytest.fixture(scope="module")
def gpu() -> Iterator[SimulatedGPU]:
    with SimulatedGPU() as gpu:
        yield gpu


@pytest.fixture(scope="module")
def cards(gpu: SimulatedGPU, real_folder: Path) -> Cards:
    return Cards(gpu, real_folder)


@pytest.mark.parametrize(
    ("width", "height"), [*SIZES, *(pytest.param(*size, marks=pytest.mark.slow) for size in LARGE)]
)
def test_plan_and_simulation_agree(width: int, height: int, cards: Cards) -> None:
    for memory in FEW_CARDS if (width, height) in LARGE else CARDS:
        job = cards.job(width, height, memory * GB)
        assert 0.8 <= job.planned_tensors / job.peak <= 1.25, (memory, job)
        assert job.peak <= job.planned, (memory, job)
        assert job.planned + CONTEXT_BYTES <= memory * GB, (memory, job)


def test_plan_and_simulation_of_stream_diffvsr_agree(gpu: SimulatedGPU, real_stream_folder: Path) -> None:
    """For a frame that is shown the one before it."""
    width, height = 320, 240
    gpu.total_memory = 24 * GB
    upscaler = Upscaler.load(
        str(real_stream_folder), device="cuda", dtype="float16", num_inference_steps=1
    ).fitted(width, height)
    state = None
    for pts in range(2):
        pixels = torch.randint(256, (1, 3, height, width), dtype=torch.uint8)
        gpu.reset()
        state = upscaler(FrameBatch(pixels, (pts,)), state).state
    footprint, fit = upscaler.footprint, upscaler.fit
    assert isinstance(footprint, GPUFootprint)
    assert 0.8 <= footprint.tensors(fit, width, height) / gpu.memory.peak <= 1.25
    assert gpu.memory.peak <= footprint.needed(fit, width, height)
    known = known_footprints(torch.float16, torch.device("cuda"))["stream-diffvsr"]
    assert known.needed(fit, width, height) == footprint.needed(fit, width, height)
    assert gpu.waits["denoise"] == 0


def test_old_television_is_not_cut_into_tiles_on_8_gb(cards: Cards) -> None:
    assert cards.job(720, 576, 8 * GB).fit.tile_size is None
