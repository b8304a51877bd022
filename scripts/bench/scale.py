"""Time and memory of the bundled model against frames, pixels, and the size of tiles and batches.

Each case runs in a process of its own. The autoencoder of sd-x4 is measured in tiles, too.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from av.video.frame import VideoFrame

from scripts.bench.architecture import decode_latents
from scripts.bench.measure import in_child, peak_memory, reset_peak_memory
from scripts.bench.pictures import HEIGHT, WIDTH, pan
from scripts.bench.tables import Row, write
from scripts.evaluate import methods
from tests import video_builder
from vidx4 import Upscaler, probe
from vidx4.diffusion.device import choose_device, choose_dtype
from vidx4.jobs.local import LocalBackend
from vidx4.jobs.plan import plan_video
from vidx4.jobs.run import run as run_job
from vidx4.media.decode import read_frames

CLIP = Path(__file__).parents[2] / "samples" / "london.mp4"
LOOP = 24
"""Frames of the clip that are repeated."""
TILE_SIZES = 192, 128, 96, 64
BATCH_SIZES = 1, 2, 4, 8
LATENT_SIDE = 96
"""Side of the latents to decode; larger ones take minutes on a CPU."""
DECODER_TILES = {"whole": LATENT_SIDE, "64": 64, "48": 48}


def run(arguments: argparse.Namespace) -> None:
    """Measure how time and memory grow."""
    device = choose_device(arguments.device)
    dtype = choose_dtype(arguments.dtype, device)
    settings = f"device={device} dtype={str(dtype).removeprefix('torch.')}"
    measures: dict[str, tuple[str, Callable[[], list[Row]]]] = {
        "frames": (
            "Frames: a 160x120 clip in a loop, the whole job",
            lambda: by_frames(arguments.frames, settings),
        ),
        "pixels": ("Pixels: `compact`, one frame at a time", lambda: by_pixels(settings, arguments.sizes)),
        "tiles": ("Tiles: `compact`, 320x240", lambda: by_tiles(settings)),
        "batches": ("Batches: `compact`, 320x240, `temporal=off`", lambda: by_batches(settings)),
        "decoder": (
            f"Tiles of the autoencoder of sd-x4, {LATENT_SIDE}x{LATENT_SIDE}, float32",
            lambda: by_decoder_tiles(device),
        ),
    }
    chosen = [measures[name] for name in arguments.tables]
    write(arguments.out, "scale", {heading: measured() for heading, measured in chosen}, device)


def by_frames(num_frames: int, settings: str) -> list[Row]:
    """Enlarge a clip, and ten times as much of it."""
    rows = []
    for number in (num_frames, 10 * num_frames):
        seconds, peak = in_child(whole_job, number, settings)
        rows.append(Row(f"{number} frames", seconds / number, total=seconds, peak_memory=peak))
    return _relative_to_first(rows)


def whole_job(num_frames: int, settings: str) -> tuple[float, int]:
    """Enlarge a clip in a loop; return the seconds and the peak memory in bytes."""
    options = dict(setting.split("=") for setting in settings.split())
    with tempfile.TemporaryDirectory() as folder:
        path = write_loop(Path(folder) / "loop.mp4", num_frames)
        upscaler = Upscaler.load("compact", **options)
        plan = plan_video(path, Path(folder) / "out.mkv")
        reset_peak_memory(upscaler.components.device)
        report = run_job(LocalBackend(upscaler).job(plan))
        return report.seconds, peak_memory(upscaler.components.device)


def write_loop(path: Path, num_frames: int) -> Path:
    """Write frames of a real clip over and over, at half its size."""
    with closing(read_frames(probe(CLIP))) as decoded:
        small = [frame.data[:, ::2, ::2].permute(1, 2, 0) for frame in islice(decoded, LOOP)]
        frames = torch.stack(small).contiguous().numpy()
    pictures = (VideoFrame.from_ndarray(frames[i % LOOP], format="rgb24") for i in range(num_frames))
    return video_builder.write(
        path, (picture.reformat(format="yuv420p") for picture in pictures), num_audio=0
    )


def by_pixels(settings: str, sizes: Sequence[tuple[int, int]]) -> list[Row]:
    """Enlarge frames of several sizes."""
    return _relative_to_first(
        [measure(f"{width}x{height}", f"compact {settings}", 2, width, height) for width, height in sizes]
    )


def by_tiles(settings: str) -> list[Row]:
    """Enlarge frames as wholes and in tiles."""
    rows = [measure("whole frames", f"compact {settings}")]
    rows += [measure(f"{size}", f"compact tile_size={size} {settings}") for size in TILE_SIZES]
    return _relative_to_first(rows)


def by_batches(settings: str) -> list[Row]:
    """Enlarge frames one at a time, and several."""
    alone = f"compact temporal=off {settings}"
    return _relative_to_first(
        [measure(f"{size}", f"{alone} batch={size}", max(2, size)) for size in BATCH_SIZES]
    )


def measure(what: str, method: str, num_frames: int = 2, width: int = WIDTH, height: int = HEIGHT) -> Row:
    """Measure the time and memory of a method for a frame of a pan; the faster of two runs counts."""
    frames = pan(num_frames, width, height).permute(0, 2, 3, 1).numpy()
    runs = methods.run(method, 2 * [frames])
    return Row(what, min(runs.seconds), peak_memory=runs.peak_memory)


def by_decoder_tiles(device: torch.device) -> list[Row]:
    """Decode latents as a whole and in tiles."""
    rows = []
    for what, size in DECODER_TILES.items():
        seconds, peak = in_child(decode_latents, size, device, LATENT_SIDE, LATENT_SIDE)
        rows.append(Row(what, seconds, peak_memory=peak))
    return _relative_to_first(rows)


def _relative_to_first(rows: list[Row]) -> list[Row]:
    """Give rows the ratio of their seconds to the first one's."""
    first = rows[0].seconds or 1.0
    return [replace(row, ratio=(row.seconds or 0.0) / first) for row in rows]
