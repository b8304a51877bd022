"""How sd-x4 at its real size cuts up large frames to fit a limit, and the memory that takes."""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from scripts.bench.architecture import decode_latents, make_vae, save_random_model
from scripts.bench.measure import in_child, peak_memory, reset_peak_memory, timed
from scripts.bench.pictures import HEIGHT, WIDTH
from scripts.bench.sd_x4 import NOISE_LEVEL, Task, load_upscaler
from scripts.bench.tables import Row, Tables, write
from vidx4.diffusion.device import choose_device, choose_dtype
from vidx4.diffusion.footprint import footprint_of
from vidx4.diffusion.models.autoencoder import TILE_SIZE, TiledAutoencoder

GB = 10**9
LIMITS = {(640, 480): 8 * GB, (1920, 1080): 16 * GB}
"""Bytes allowed for each size of frames."""


def run(arguments: argparse.Namespace) -> None:
    """Measure what sd-x4 takes of a limited memory."""
    device = choose_device(arguments.device)
    dtype = choose_dtype(arguments.dtype, device)
    with tempfile.TemporaryDirectory() as folder:
        in_child(save_random_model, Path(folder))
        rows = []
        for (width, height), limit in LIMITS.items():
            task = Task(Path(folder), width, height, 1, dtype, device)
            how, seconds, peak = in_child(denoise_within, task, limit)
            rows.append(Row(f"{width}x{height}, {limit / GB:g} GB: {how}", seconds, peak_memory=peak))
    heading = "One step of sd-x4 in a limited memory, without decoding"
    write(arguments.out, "memory", {heading: rows, **decoding(device)}, device)


@torch.inference_mode()
def denoise_within(task: Task, limit: int) -> tuple[str, float, int]:
    """Denoise as much of a frame as fits a GPU of a limited memory at once.

    Returns:
        How much that is, its seconds, and the peak memory in bytes. On a CPU, the peak is that of the
        process, so it includes the libraries.
    """
    upscaler = load_upscaler(task, max_memory=limit)
    parts, embeds = upscaler.components, upscaler.components.prompt_embeds
    assert embeds is not None
    footprint = footprint_of(parts, upscaler.settings, is_on_host=False)
    size = footprint.fitted(replace(upscaler.fit, batch_size=1), task.width, task.height, limit).tile_size
    width, height = (min(side, size or side) for side in (task.width, task.height))
    sample = torch.zeros(1, 7, height, width, device=task.device, dtype=task.dtype)
    reset_peak_memory(task.device)
    seconds = timed(
        lambda: parts.denoiser(sample, torch.tensor(500), NOISE_LEVEL, embeds.positive, None), 1, task.device
    )
    return f"tiles of {size}" if size else "whole frames", seconds, peak_memory(task.device)


def decoding(device: torch.device) -> Tables:
    """Measure the memory of decoding one frame, to compare with its estimate."""
    estimate = TiledAutoencoder(make_vae()).decode_bytes(TILE_SIZE, 1, WIDTH * HEIGHT)
    seconds, peak = in_child(decode_latents, TILE_SIZE, device, WIDTH, HEIGHT)
    what = f"estimated, without weights and program: {estimate / 2**20:.0f} MiB"
    return {f"Decoding {WIDTH}x{HEIGHT} in float32": [Row(what, seconds, peak_memory=peak)]}
