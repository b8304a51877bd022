"""Operations that a frame of sd-x4 takes at its real size, to denoise and to decode, for each `--speed`.

They are counted on the simulated GPU of the tests, which computes nothing.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from scripts.bench.architecture import silence_libraries
from scripts.bench.tables import Row, write
from vidx4.diffusion.options import Speed
from vidx4.frames import FrameBatch

SIZES = [(320, 240), (640, 480)]
MEMORY = 80 * 10**9
"""Bytes of the simulated GPU: enough to decode frames as wholes, which takes the fewest operations."""


def run(arguments: argparse.Namespace) -> None:
    """Count, and write the table."""
    silence_libraries()
    from tests.simulated_gpu import save_real_model

    with tempfile.TemporaryDirectory() as folder:
        save_real_model(Path(folder))
        rows = [row for size in arguments.sizes or SIZES for row in presets(Path(folder), *size)]
    write(arguments.out, "operations", {"Operations of a frame": rows})


def presets(folder: Path, width: int, height: int) -> Iterator[Row]:
    """Yield a row for each preset: without guidance, which is skipped if no prompt is given, and with it."""
    first = 0.0
    for guidance in (1.0, 9.0):
        for speed in (Speed.QUALITY, Speed.BALANCED, Speed.FAST):
            counts = {stage: n / 1e12 for stage, n in count(folder, width, height, speed, guidance).items()}
            denoising, decoding = counts["denoise"], counts["decode"]
            first = first or denoising + decoding
            yield Row(
                f"{width}x{height}, `{speed}`{'' if guidance == 1 else ', guided'}",
                ratio=(denoising + decoding) / first,
                denoising_operations=denoising,
                decoding_operations=decoding,
            )


def count(folder: Path, width: int, height: int, speed: Speed, guidance_scale: float) -> dict[str, int]:
    """Return the operations of a frame by stage, two per multiply-add."""
    from tests.simulated_gpu import SimulatedGPU
    from vidx4.diffusion.upscaler import Upscaler

    frame = FrameBatch(torch.zeros(1, 3, height, width, dtype=torch.uint8), (0,))
    with SimulatedGPU(MEMORY) as gpu:
        prompt = "a film" if guidance_scale > 1 else ""
        settings = {"speed": speed, "guidance_scale": guidance_scale, "prompt": prompt, "temporal": "off"}
        upscaler = Upscaler.load(str(folder), device="cuda", **settings).fitted(width, height)
        gpu.reset()
        upscaler(frame)
        return dict(gpu.operations)
