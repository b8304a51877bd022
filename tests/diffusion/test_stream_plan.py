"""The plan of a GPU's memory for Stream-DiffVSR is near to what a simulation shows."""

from pathlib import Path

import torch

from tests.simulated_gpu import SimulatedGPU
from vidx4.diffusion.footprint import GPUFootprint
from vidx4.diffusion.footprints import known_footprints
from vidx4.diffusion.upscaler import Upscaler
from vidx4.frames import FrameBatch


def test_plan_and_simulation_of_stream_diffvsr_agree(real_stream_folder: Path) -> None:
    """For a frame that is shown the one before it."""
    width, height = 320, 240
    with SimulatedGPU(total_memory=24 * 10**9) as gpu:
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
