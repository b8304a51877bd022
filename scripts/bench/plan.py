"""How sd-x4 cuts up frames to fit a GPU, the memory and the operations that takes, and those of diffusers.

Nothing is measured: the real architecture runs on the simulated GPU of the tests, which counts what exists
and what would be computed. A simulated peak lacks the workspaces of CUDA's libraries and fragmentation, for
which the plan has a margin.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch

from scripts.bench.architecture import REAL, make_unet, make_vae, silence_libraries, tiny_sd_x4
from scripts.bench.tables import Row, Tables, write
from vidx4.diffusion.memory import Fit
from vidx4.diffusion.options import Speed
from vidx4.diffusion.tiles import tile_boxes
from vidx4.diffusion.upscaler import Upscaler

GB = 10**9
TERA = 10**12
SIZES = [(320, 240), (480, 360), (640, 480), (720, 576), (1280, 720), (1920, 1080)]
CARDS = (6, 8, 12, 16, 24, 80)
"""Memory of GPUs, in GB."""
COMPARED = [(320, 240), (640, 480), (720, 576)]
"""Sizes at which diffusers is simulated, too."""
NUM_STEPS, GUIDANCE = 20, 9.0


def run(arguments: argparse.Namespace) -> None:
    """Simulate, and write the tables."""
    silence_libraries()
    from tests.simulated_gpu import save_real_model

    with tempfile.TemporaryDirectory() as folder:
        model = save_real_model(Path(folder))
        sizes = arguments.sizes or SIZES
        tables: Tables = {
            "Memory in float16 at the default settings, planned and simulated": [*plans(model, sizes)],
            "Operations of a frame at the default settings, counted": operations(model, sizes),
            f"{NUM_STEPS} steps with a prompt, counted and simulated": comparison(model, sizes),
        }
    write(arguments.out, "plan", tables)


def plans(model: Path, sizes: Sequence[tuple[int, int]]) -> Iterator[Row]:
    """Yield a row for each way that frames of a size are cut up, with the cards of which that is the way."""
    from tests.simulated_gpu import SimulatedGPU
    from tests.simulated_gpu.frames import Cards

    with SimulatedGPU() as gpu:
        cards = Cards(gpu, model)
        for width, height in sizes:
            jobs = [(cards.job(width, height, memory * GB), memory) for memory in CARDS]
            for job, group in groupby(jobs, key=itemgetter(0)):
                yield described(job, width, height, [memory for _, memory in group])


def load(model: Path, **options: Any) -> Upscaler:
    """Load the model in float16."""
    return Upscaler.load(str(model), device="cuda", dtype="float16", **options)


def described(job: Any, width: int, height: int, cards: list[int]) -> Row:
    """Return the row of a job."""
    memory = f"{cards[0]} GB" if len(cards) == 1 else f"{cards[0]} to {cards[-1]} GB"
    what = f"{width}x{height}, {memory}: {cut(job.fit, width, height)}"
    return Row(what, planned_memory=job.planned, simulated_memory=job.peak)


def cut(fit: Fit, width: int, height: int) -> str:
    """Describe how frames are cut up."""
    parts = ["whole"]
    if fit.tile_size is not None:
        boxes = tile_boxes(height, width, fit.tile_size, multiple=8)
        share = sum(box.area for box in boxes) / (width * height)
        parts = [f"{len(boxes)} tiles of {boxes[0].width}x{boxes[0].height}, {share:.2f} times the pixels"]
    if fit.decode_tile is not None and fit.decode_tile**2 < width * height:
        parts.append(f"decoded in strips of {fit.decode_tile}²")
    if fit.is_offloaded:
        parts.append("weights on the host")
    return ", ".join(parts)


def operations(model: Path, sizes: Sequence[tuple[int, int]]) -> list[Row]:
    """Return a row for each size and speed, of whole frames."""
    return [
        by_stage(f"{width}x{height}, `{speed}`", counted(model, width, height, speed=speed)[0])
        for width, height in sizes
        for speed in (Speed.QUALITY, Speed.BALANCED, Speed.FAST)
    ]


def counted(model: Path, width: int, height: int, **options: Any) -> tuple[Counter[str], int]:
    """Return the operations of a whole frame by stage, and the simulated peak of memory."""
    from tests.simulated_gpu import SimulatedGPU
    from tests.simulated_gpu.frames import enlarge

    with SimulatedGPU(CARDS[-1] * GB) as gpu:
        upscaler = load(model, temporal="fixed", **options).fitted(width, height)
        enlarge(gpu, upscaler, width, height)
        return gpu.operations, gpu.memory.peak


def by_stage(what: str, counts: Counter[str]) -> Row:
    """Return a row of operations, in T."""
    return Row(
        what,
        denoising_operations=counts["denoise"] / TERA,
        decoding_operations=counts["decode"] / TERA,
        finishing_operations=(counts["finish"] + counts["other"]) / TERA,
    )


def comparison(model: Path, sizes: Sequence[tuple[int, int]]) -> list[Row]:
    """Return rows of diffusers and of this program at equal settings."""
    rows = []
    for width, height in [size for size in COMPARED if size in sizes]:
        prompt = {"prompt": "a film", "num_inference_steps": NUM_STEPS, "guidance_scale": GUIDANCE}
        results = {
            "diffusers": diffusers_counted(width, height),
            "vidx4": counted(model, width, height, **prompt),
        }
        for name, (counts, peak) in results.items():
            what = f"{width}x{height}, {name}"
            rows.append(replace(by_stage(what, counts), simulated_memory=peak))
    return rows


@torch.no_grad()
def diffusers_counted(width: int, height: int) -> tuple[Counter[str], int]:
    """Return what diffusers' own pipeline takes for a frame: operations by stage, and memory."""
    from tests.simulated_gpu import SimulatedGPU

    parts = tiny_sd_x4()
    with SimulatedGPU(CARDS[-1] * GB) as gpu:
        pipeline = parts.make_pipeline()
        with gpu.fake_mode:
            networks = {"unet": make_unet().half(), "vae": make_vae().half()}
        text_encoder = parts.make_text_encoder(REAL.text_width).half().eval()
        pipeline.register_modules(text_encoder=text_encoder, **networks)
        pipeline.set_progress_bar_config(disable=True)
        pipeline.to("cuda")
        for name, owner, method in (
            ("denoise", pipeline.unet, "forward"),
            ("decode", pipeline.vae, "decode"),
        ):
            setattr(owner, method, within(gpu.stage, name, getattr(owner, method)))
        gpu.reset()
        pipeline(
            prompt="a film",
            image=torch.rand(1, 3, height, width),
            num_inference_steps=NUM_STEPS,
            guidance_scale=GUIDANCE,
            output_type="pt",
        )
        return gpu.operations, gpu.memory.peak


def within(stage: Any, name: str, function: Any) -> Any:
    """Return a function that is a stage."""

    def staged(*args: Any, **kwargs: Any) -> Any:
        with stage(name):
            return function(*args, **kwargs)

    return staged
