"""How sd-x4 at its real size cuts up large frames to fit a limit, and the memory that takes."""

import argparse
from dataclasses import replace

import torch

from scripts.bench.architecture import REAL, SMALL, decode_latents, make_vae, random_model
from scripts.bench.measure import held_memory, in_child, peak_memory, reset_peak_memory, timed
from scripts.bench.pictures import HEIGHT, WIDTH, pan
from scripts.bench.sd_x4 import NOISE_LEVEL, Task, load_upscaler
from scripts.bench.tables import Row, Tables, write
from vidx4 import FrameBatch
from vidx4.diffusion.device import choose_device, choose_dtype
from vidx4.diffusion.footprint import footprint_of
from vidx4.diffusion.models.networks.autoencoder import TILE_SIZE, TiledAutoencoder

GB = 10**9
SIZES = [(320, 240), (640, 480), (720, 576), (1280, 720)]
"""Sizes of frames whose plan is checked."""
CPU_SIZES = [(96, 64)]
LIMITS = {(640, 480): 8 * GB, (1920, 1080): 16 * GB}
"""Bytes allowed for each size of frames."""


def run(arguments: argparse.Namespace) -> None:
    """Measure what sd-x4 takes of a limited memory."""
    device = choose_device(arguments.device)
    dtype = choose_dtype(arguments.dtype, device)
    architecture, tables = SMALL if arguments.small else REAL, Tables()
    with random_model(arguments.model, architecture) as model:
        task = Task(model, WIDTH, HEIGHT, 1, dtype, device, architecture=architecture)
        if "plan" in arguments.tables:
            sizes = arguments.sizes or (CPU_SIZES if device.type == "cpu" else SIZES)
            tables |= plans([replace(task, width=width, height=height) for width, height in sizes])
        if "step" in arguments.tables:
            tables |= steps(task)
    if "decoder" in arguments.tables:
        tables |= decoding(device)
    write(arguments.out, "memory", tables, device)


def plans(tasks: list[Task]) -> Tables:
    """Compare the memory that frames take with what the program reckons with before the work."""
    rows = [in_child(planned, task) for task in tasks]
    return {"Memory as planned (ratio: planned to peak)": rows}


def planned(task: Task) -> Row:
    """Enlarge a batch of frames and the one after it, as the program does, and measure the memory."""
    upscaler = load_upscaler(task).fitted(task.width, task.height)
    size, tile_size = upscaler.fit.batch_size, upscaler.fit.tile_size
    needed = upscaler.footprint.needed(upscaler.fit, task.width, task.height)
    first, second = pan(2 * size, task.width, task.height).split(size)
    reset_peak_memory(task.device)
    state = upscaler(FrameBatch(first, tuple(range(size)))).state
    batch = FrameBatch(second, tuple(range(size, 2 * size)))
    seconds = timed(lambda: upscaler(batch, state), 1, task.device)
    peak = peak_memory(task.device)
    return Row(
        f"{task.width}x{task.height}, {f'tiles of {tile_size}' if tile_size else f'batches of {size}'}",
        seconds / size,
        needed / peak,
        planned_memory=needed,
        peak_memory=peak,
        held_memory=held_memory(task.device),
    )


def steps(task: Task) -> Tables:
    """Measure a step for frames of several sizes, each in a limited memory."""
    rows = []
    for (width, height), limit in LIMITS.items():
        how, seconds, peak = in_child(denoise_within, replace(task, width=width, height=height), limit)
        rows.append(Row(f"{width}x{height}, {limit / GB:g} GB: {how}", seconds, peak_memory=peak))
    return {"One step of sd-x4 in a limited memory, without decoding": rows}


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
    footprint = footprint_of(replace(parts, device=torch.device("cuda:0")), upscaler.settings)
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
