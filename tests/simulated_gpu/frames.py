"""Frames for a simulated device, of which no more is simulated than differs."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from tests.simulated_gpu.gpu import SimulatedGPU
from vidx4.diffusion.footprint import GPUFootprint
from vidx4.diffusion.memory import Fit
from vidx4.diffusion.models.components import Components
from vidx4.diffusion.sampler import Sampled, Sampler
from vidx4.diffusion.upscaler import Upscaler
from vidx4.frames import Box, FrameBatch


def enlarge(gpu: SimulatedGPU, upscaler: Upscaler, width: int, height: int) -> None:
    """Enlarge a batch of random frames, as an upscaler cuts them up.

    If it cuts them into tiles, which the next frame may reuse, it is the second batch that counts. Of tiles,
    which are all of one size, only the first and the last one are computed; see `outer_tiles`.
    """
    size, state = upscaler.fit.batch_size, None
    for start in (0, size) if upscaler.fit.tile_size else (0,):
        pixels = torch.randint(0, 256, (size, 3, height, width), dtype=torch.uint8)
        gpu.reset()
        with outer_tiles(gpu):
            state = upscaler(FrameBatch(pixels, tuple(range(start, start + size))), state).state


@contextmanager
def outer_tiles(gpu: SimulatedGPU) -> Iterator[None]:
    """Simulate only the first and the last of a frame's tiles, which are all of one size.

    The results of the others exist as theirs do, and their operations, waits and copies are counted.
    """
    call, known = Sampler.__call__, _Known(gpu)

    def sampled(sampler: Sampler, frames: Any, box: Box, tie: Any, past: Any = None) -> Sampled:
        height, width = frames[0].low_res.shape[1:]
        is_outer = (box.top, box.left) == (0, 0) or (box.bottom, box.right) == (height, width)
        if is_outer:
            return known.computed(tie, lambda: call(sampler, frames, box, tie, past))
        return known.repeated(tie)

    with patch.object(Sampler, "__call__", sampled):
        yield


class _Known:
    """The result and the counts of the last tile that was simulated."""

    def __init__(self, gpu: SimulatedGPU) -> None:
        self._counters = gpu.operations, gpu.waits, gpu.copies
        self._counts: list[Counter[str]] = []
        self._make: Callable[..., Sampled] = Sampled
        self._latents: tuple[int, ...] = ()

    def computed(self, tie: Any, compute: Callable[[], Sampled]) -> Sampled:
        """Compute a tile, and remember what it takes."""
        before = [counter.copy() for counter in self._counters]
        result = compute()
        self._counts = [counter - old for counter, old in zip(self._counters, before, strict=True)]
        self._make = _maker(result)
        self._latents = tie.latents[:, 0].shape if tie.steps else ()
        return result

    def repeated(self, tie: Any) -> Sampled:
        """Return a result like the last one, as though it had been computed."""
        for counter, count in zip(self._counters, self._counts, strict=True):
            counter.update(count)
        for step in tie.steps:
            tie(step, torch.empty(self._latents, device="cuda"))
        return self._make()


def _maker(result: Sampled) -> Callable[[], Sampled]:
    """Return a function that makes results like one, which it does not keep."""
    shapes = [None if field is None else (field.shape, field.dtype) for field in result]

    def make() -> Sampled:
        fields = (
            None if each is None else torch.empty(each[0], dtype=each[1], device="cuda") for each in shapes
        )
        return Sampled(*fields)  # type: ignore[arg-type]

    return make


@dataclass(frozen=True)
class Job:
    """A job of sd-x4 at its default settings, as it is planned and as it is simulated."""

    fit: Fit
    planned: int
    """Bytes of the plan, with its margin."""
    planned_tensors: int
    """Bytes of the plan without the margin for what is not simulated."""
    peak: int
    """Bytes at the simulated peak."""


class Cards:
    """Jobs on simulated GPUs of several sizes, each of which is simulated once.

    Args:
        gpu: the simulated GPU, whose memory will be changed.
        model: the folder of the model.
    """

    def __init__(self, gpu: SimulatedGPU, model: Path) -> None:
        self._gpu, self._model = gpu, model
        self._upscaler = self._load()
        self._jobs: dict[tuple[int, int, Fit], Job] = {}

    def job(self, width: int, height: int, total_memory: int) -> Job:
        """Return a job for frames of a size on a GPU with so much memory."""
        self._gpu.total_memory = total_memory
        upscaler = self._upscaler.fitted(width, height)
        key = width, height, upscaler.fit
        if key not in self._jobs:
            self._jobs[key] = self._simulated(upscaler, width, height)
        return self._jobs[key]

    def _load(self) -> Upscaler:
        return Upscaler.load(str(self._model), device="cuda", dtype="float16")

    def _simulated(self, upscaler: Upscaler, width: int, height: int) -> Job:
        footprint, fit = upscaler.footprint, upscaler.fit
        assert isinstance(footprint, GPUFootprint)
        # One step takes as much memory as many. Frames are not followed, which the host does.
        options = replace(upscaler.options, num_inference_steps=1, temporal="fixed")
        # Weights that are offloaded remain so.
        loaded = self._load() if fit.is_offloaded else upscaler
        enlarge(self._gpu, type(upscaler)(loaded.components, options, fit), width, height)
        # The other model's weights exist all the while.
        other = num_bytes(upscaler.components) if fit.is_offloaded else 0
        return Job(
            fit,
            footprint.needed(fit, width, height),
            footprint.tensors(fit, width, height),
            self._gpu.memory.peak - other,
        )


def num_bytes(components: Components) -> int:
    """Return the bytes of all of a model's weights."""
    autoencoder = components.trained_autoencoder
    networks = [components.unet, *([] if autoencoder is None else [autoencoder.vae])]
    return sum(each.numel() * each.element_size() for network in networks for each in network.parameters())
