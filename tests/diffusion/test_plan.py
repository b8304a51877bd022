"""The plan of a GPU's memory is near to what the simulation of the real architecture shows."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulated_gpu import SimulatedGPU
from tests.simulated_gpu.frames import Cards
from vidx4.diffusion.memory import CONTEXT_BYTES

GB = 10**9
CARDS = (6, 8, 12, 16, 24, 80)
FEW_CARDS = (8, 24)
"""Those that large frames are tried on: to simulate one takes a minute. `scripts.bench plan` tries all."""
SIZES = [(320, 240), (480, 360), (640, 480), (720, 576)]
LARGE = [(1280, 720), (1920, 1080)]


@pytest.fixture(scope="module")
def cards(real_folder: Path) -> Iterator[Cards]:
    with SimulatedGPU() as gpu:
        yield Cards(gpu, real_folder)


@pytest.mark.parametrize(
    ("width", "height"), [*SIZES, *(pytest.param(*size, marks=pytest.mark.slow) for size in LARGE)]
)
def test_plan_and_simulation_agree(width: int, height: int, cards: Cards) -> None:
    for memory in FEW_CARDS if (width, height) in LARGE else CARDS:
        job = cards.job(width, height, memory * GB)
        assert 0.8 <= job.planned_tensors / job.peak <= 1.25, (memory, job)
        assert job.peak <= job.planned, (memory, job)
        assert job.planned + CONTEXT_BYTES <= memory * GB, (memory, job)


def test_old_television_is_not_cut_into_tiles_on_8_gb(cards: Cards) -> None:
    assert cards.job(720, 576, 8 * GB).fit.tile_size is None
