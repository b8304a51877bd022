"""Frames for a simulated device, of which no more is simulated than differs."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch

from tests.simulated_gpu.gpu import SimulatedGPU
from vidx4.diffusion.sampler import Sampled, Sampler
from vidx4.diffusion.upscaler import Upscaler
from vidx4.frames import FrameBatch


def enlarge(gpu: SimulatedGPU, upscaler: Upscaler, width: int, height: int) -> None:
    """Enlarge a batch of random frames, as an upscaler cuts them up.

    If it cuts them into tiles, which the next frame may reuse, it is the second batch that counts. Of tiles,
    which are all of one size, only the first one is computed; see `first_tiles`.
    """
    size, state = upscaler.fit.batch_size, None
    for start in (0, size) if upscaler.fit.tile_size else (0,):
        pixels = torch.randint(0, 256, (size, 3, height, width), dtype=torch.uint8)
        gpu.reset()
        with first_tiles(gpu):
            state = upscaler(FrameBatch(pixels, tuple(range(start, start + size))), state).state


@contextmanager
def first_tiles(gpu: SimulatedGPU) -> Iterator[None]:
    """Simulate only the first of tiles of a size; the others take as much, but for what its work takes.

    Their results exist as its own do, and their operations, waits and copies are counted.
    """
    call, known = Sampler.__call__, _Known(gpu)

    def sampled(sampler: Sampler, frames: Any, box: Any, tie: Any, past: Any = None) -> Sampled:
        key = sampler, len(frames), box.height, box.width, tie is not None and bool(tie.steps)
        return known.result(key, tie, lambda: call(sampler, frames, box, tie, past))

    with patch.object(Sampler, "__call__", sampled):
        yield


class _Known:
    """Results and counts of tiles that were simulated."""

    def __init__(self, gpu: SimulatedGPU) -> None:
        self._gpu = gpu
        self._counts: dict[Any, list[Counter[str]]] = {}
        self._results: dict[Any, Callable[[], Sampled]] = {}
        self._latents: dict[Any, tuple[int, ...]] = {}

    def result(self, key: Any, tie: Any, compute: Callable[[], Sampled]) -> Sampled:
        counters = self._gpu.operations, self._gpu.waits, self._gpu.copies
        if key in self._results:
            for counter, count in zip(counters, self._counts[key], strict=True):
                counter.update(count)
            self._record(tie, key)
            return self._results[key]()
        before = [counter.copy() for counter in counters]
        result = compute()
        self._counts[key] = [counter - old for counter, old in zip(counters, before, strict=True)]
        if tie is not None and tie.steps:
            self._latents[key] = tie.latents[:, 0].shape
        self._results[key] = _maker(result)
        return result

    def _record(self, tie: Any, key: Any) -> None:
        """Let a tie keep latents as it did for the first tile."""
        for step in tie.steps if tie is not None else ():
            tie(step, torch.empty(self._latents[key], device="cuda"))


def _maker(result: Sampled) -> Callable[[], Sampled]:
    """Return a function that makes results like one, which it does not keep."""
    shapes = [None if field is None else (field.shape, field.dtype) for field in result]

    def make() -> Sampled:
        fields = (
            None if each is None else torch.empty(each[0], dtype=each[1], device="cuda") for each in shapes
        )
        return Sampled(*fields)  # type: ignore[arg-type]

    return make


def like_a_job(upscaler: Upscaler, width: int, height: int, num_inference_steps: int = 1) -> Upscaler:
    """Return an upscaler that is cut up as for a job, but takes few steps, which all take the same memory.

    Frames are not followed, since that is computed on the host.
    """
    fitted = upscaler.fitted(width, height, num_frames=1)
    options = replace(fitted.options, num_inference_steps=num_inference_steps, temporal="fixed")
    return type(upscaler)(fitted.components, options, fitted.fit)
