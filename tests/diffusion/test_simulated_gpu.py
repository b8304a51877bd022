"""The path that runs on a CUDA GPU, on a simulated one."""

from pathlib import Path

import torch

from tests.simulated_gpu import SimulatedGPU
from vidx4.diffusion.upscaler import Upscaler
from vidx4.frames import FrameBatch


def test_a_batch(simulated_gpu: SimulatedGPU, tiny_folder: Path) -> None:
    upscaler = Upscaler.load(str(tiny_folder), device="cuda", num_inference_steps=2, prompt="a")
    batch = FrameBatch(torch.randint(0, 256, (2, 3, 33, 47), dtype=torch.uint8), (0, 1))
    upscaled = upscaler(batch)
    assert upscaled.batch.data.shape == (2, 3, 132, 188)
    assert simulated_gpu.memory.peaks["denoise"] > 0
