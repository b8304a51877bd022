"""Fixtures: small videos and small models, made on the spot."""

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests import sd_x4, stream_diffvsr
from tests.helpers import Load
from tests.simulated_gpu import SimulatedGPU, save_real_model, save_real_stream_model
from tests.video_files import write_video
from vidx4.diffusion.upscaler import Upscaler

MakeVideo = Callable[..., Path]

# Programs that tests start inherit ignored signals, and tests send these; under `nohup` they are ignored.
for _each in {signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)}:
    if signal.getsignal(_each) == signal.SIG_IGN:
        signal.signal(_each, signal.SIG_DFL)

# Tiny networks gain nothing from threads, and two test processes would compete for the cores.
torch.set_num_threads(1)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests that need a GPU if there is none, unless one is required."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        if os.environ.get("VIDX4_REQUIRE_GPU") == "1":
            pytest.fail("VIDX4_REQUIRE_GPU=1, but there is no CUDA device")
        pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True)
def _restore_random_state() -> Iterator[None]:
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])


@pytest.fixture
def make_video(tmp_path: Path) -> MakeVideo:
    """Return a function that writes a video into a temporary folder and returns its path."""

    def make(name: str = "source.mp4", **options: object) -> Path:
        path = tmp_path / name
        write_video(path, **options)  # type: ignore[arg-type]
        return path

    return make


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model folder with the topology of sd-x4, tiny and with random weights."""
    return sd_x4.save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def stream_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model folder in the layout of Stream-DiffVSR, tiny and with random weights."""
    return stream_diffvsr.save_model(tmp_path_factory.mktemp("stream"))


@pytest.fixture(params=["compact", "sd-x4 topology"])
def load(request: pytest.FixtureRequest, tiny_folder: Path) -> Load:
    """Return a function that loads each of the models with options."""
    name = "compact" if request.param == "compact" else str(tiny_folder)

    def load_model(**options: Any) -> Upscaler:
        defaults = {"num_inference_steps": 2, "device": "cpu", "dtype": "float32"}
        return Upscaler.load(name, **(defaults | options))

    return load_model


@pytest.fixture
def simulated_gpu() -> Iterator[SimulatedGPU]:
    """Return a simulated GPU with 24 GB, on which the test runs."""
    with SimulatedGPU() as gpu:
        yield gpu


@pytest.fixture(scope="session")
def real_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model folder of sd-x4 at its real size but without weights, for a simulated GPU."""
    return save_real_model(tmp_path_factory.mktemp("real_model"))


@pytest.fixture(scope="session")
def real_stream_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model folder of Stream-DiffVSR at its real size but without weights, for a simulated GPU."""
    return save_real_stream_model(tmp_path_factory.mktemp("real_stream_model"))
