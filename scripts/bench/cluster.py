"""A job on a real Ray on this machine: against one without Ray, and the memory and speed of the driver.

The driver is the process that decodes, finds cuts and hands out chunks.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from av.video.frame import VideoFrame
from torch import Tensor

from scripts.bench.measure import in_child
from scripts.bench.tables import Row, write
from tests import video_builder
from tests.helpers import upscale_nearest
from vidx4 import probe
from vidx4.diffusion.device import choose_device
from vidx4.jobs.cluster.chunks import missing_chunks
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalExecutor
from vidx4.jobs.plan import plan_video
from vidx4.jobs.progress import Control, Monitor
from vidx4.jobs.work_folder import work_folder
from vidx4.media.decode import read_frames

ROOT = Path(__file__).parents[2]
SAMPLES = [ROOT / "samples" / name for name in ("london.mp4", "nasa.mp4", "signer.mkv", "bear.webm")]
SHOT_FRAMES = 40
STILL_FRAMES = 100
RATE = 25
SIZES = ((160, 120), (320, 240), (640, 480))
NUM_READ = 200
"""Frames that are read at each size."""


def run(arguments: argparse.Namespace) -> None:
    """Measure what a cluster gains and costs."""
    tables = {
        "Eight real shots of 160x120 (seconds of the work against those without Ray; highest peak of any "
        "process)": speed(arguments.workers, arguments.device),
        "Films of stills of 320x240, 2 workers (peak of the driver)": driver_memory(arguments.minutes),
        "Decoding and dividing into chunks, by the driver": reading(NUM_READ),
    }
    write(arguments.out, "cluster", tables, choose_device(arguments.device))


def speed(workers: Sequence[int], device: str) -> list[Row]:
    """Enlarge eight real shots without Ray, and with workers that share the same cores."""
    with tempfile.TemporaryDirectory() as name:
        clip, num_frames = Path(name) / "shots.mp4", 2 * len(SAMPLES) * SHOT_FRAMES
        video_builder.write(clip, _as_video(_shots()), num_audio=0)
        flags = ["--device", device, "--encoder-preset", "veryfast"]
        runs: dict[str, list[str]] = {"without Ray": []}
        for number in workers:
            runs[_counted(number, "worker")] = ["--cluster", "local", "--workers", str(number)]
        rows: list[Row] = []
        for what, more in runs.items():
            report, whole = _upscale(clip, Path(name) / "out.mp4", [*flags, *more])
            seconds = report["seconds"]
            peak = max([report["peak_memory"], *(each["peak_memory"] for each in report["workers"].values())])
            ratio = seconds / (rows[0].total or 1) if rows else 1.0
            rows.append(Row(what, seconds / num_frames, ratio, total=seconds, peak_memory=peak))
            rows.append(Row("its start and end", total=whole - seconds))
        return rows


def driver_memory(minutes: Sequence[int]) -> list[Row]:
    """Enlarge films of stills: frames of full size pass through Ray, but most results are reused."""
    rows = []
    flags = ["--device", "cpu", "--encoder-preset", "ultrafast", "--cluster", "local", "--workers", "2"]
    with tempfile.TemporaryDirectory() as name:
        for number in minutes:
            clip, num_frames = Path(name) / f"{number}.mp4", 60 * RATE * number
            in_child(_write_stills, clip, num_frames)  # Linux counts the parent's peak as the child's, too
            report, _ = _upscale(clip, Path(name) / "out.mp4", flags)
            seconds, peak = report["seconds"], report["peak_memory"]
            what = f"{_counted(number, 'minute')}, {num_frames} frames"
            rows.append(Row(what, seconds / num_frames, total=seconds, peak_memory=peak))
    return [replace(row, ratio=(row.peak_memory or 0) / (rows[0].peak_memory or 1)) for row in rows]


def reading(num_frames: int) -> list[Row]:
    """Do what a driver does with all frames: decode them, find cuts, and divide them into chunks."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for width, height in SIZES:
            clip = Path(name) / f"{height}.mp4"
            frames = [_resized(frame, width, height) for frame in islice(_endless(), num_frames)]
            video_builder.write(clip, _as_video(frames), num_audio=0)
            seconds = _read(clip, Path(name) / f"{height}_x4.mp4")
            rows.append(Row(f"{width}x{height}", seconds / num_frames, total=seconds))
    return rows


def _read(clip: Path, output: Path) -> float:
    plan = plan_video(clip, output)
    job = Job(plan, LocalExecutor(upscale_nearest), 1)
    begun = time.perf_counter()
    with work_folder(plan, job.identity) as folder:
        monitor = Monitor(Control(), lambda _: None)
        with closing(missing_chunks(job, folder, monitor)) as chunks:
            for _ in chunks:
                pass
    return time.perf_counter() - begun


def _upscale(clip: Path, output: Path, flags: Sequence[str]) -> tuple[dict[str, Any], float]:
    """Run the program as a user does; return its report, and the seconds from start to end."""
    command = [sys.executable, "-m", "vidx4", "upscale", str(clip), str(output), "--json", "--overwrite"]
    begun = time.perf_counter()
    done = subprocess.run([*command, *flags], cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1]), time.perf_counter() - begun


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number > 1 else ''}"


def _shots() -> Iterator[Tensor]:
    """Yield frames of eight shots: four real ones, as they are and mirrored, 160x120."""
    for is_mirrored in (False, True):
        for sample in SAMPLES:
            with closing(_frames(sample)) as frames:
                for frame in islice(frames, SHOT_FRAMES):
                    small = _resized(frame, *SIZES[0])
                    yield small.flip(2) if is_mirrored else small


def _frames(sample: Path) -> Generator[Tensor]:
    for frame in read_frames(probe(sample)):
        yield frame.data


def _endless() -> Iterator[Tensor]:
    while True:
        for sample in SAMPLES:
            yield from _frames(sample)


def _resized(frame: Tensor, width: int, height: int) -> Tensor:
    resized = torch.nn.functional.interpolate(frame[None].float(), (height, width), mode="area")[0]
    return resized.round().to(torch.uint8)


def _stills(num_frames: int) -> Iterator[Tensor]:
    """Yield stills of 320x240, each for four seconds, that have nothing in common."""
    rng = np.random.default_rng(1)
    for _ in range(0, num_frames, STILL_FRAMES):
        color = rng.uniform(0.1, 1, (3, 1, 1))
        coarse = rng.integers(0, 255, (1, 30, 40)) * color
        still = torch.from_numpy(coarse.astype(np.uint8).repeat(8, axis=1).repeat(8, axis=2))
        yield from [still] * STILL_FRAMES


def _write_stills(clip: Path, num_frames: int) -> None:
    lossless = {"preset": "ultrafast", "qp": "0"}  # equal frames must be equal when they are decoded
    video_builder.write(clip, _as_video(_stills(num_frames)), num_audio=0, options=lossless)


def _as_video(frames: Iterator[Tensor] | Sequence[Tensor]) -> Iterator[VideoFrame]:
    for frame in frames:
        pixels = frame.permute(1, 2, 0).contiguous().numpy()
        yield VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
