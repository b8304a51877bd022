"""Work out how much memory there is for a model, and how to cut frames up to fit it."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import psutil
import torch

from vidx4.diffusion.host import available_memory, total_memory
from vidx4.diffusion.options import MIN_TILE_SIZE
from vidx4.diffusion.tiles import tiling
from vidx4.errors import MemoryLimitError
from vidx4.frames import SCALE
from vidx4.syntax import format_disk

DECODE_TILES = (2048, 1024, 512, 256, 128, 96, 64)
"""Sides of the squares whose area bounds what an autoencoder decodes at once, in latents, from the fastest to
the smallest. On a GPU, the larger the faster: the first is a whole frame in all but name."""
HOST_DECODE_TILE = 128
"""The one of them that is tried first on a CPU."""
TILES = (1280, 1024, 768, 512, 384, 256, 192, 128)
"""Greatest sides of the tiles that are denoised if whole frames don't fit, in low-resolution pixels."""
SMALL_TILES = (96, 64, MIN_TILE_SIZE)
"""Those that are tried last, even after offloading: a model sees little around what is in them."""

HOST_BYTES = 450 * 2**20
"""Bytes of a process on a CPU before its first frame: Python and its libraries."""
HOST_BYTES_PER_PIXEL = 5600
"""Bytes that decoding, encoding and the frames between take for a low-resolution pixel; measured at 320x240
(H.264)."""
HOST_FINISHING_BYTES_PER_PIXEL = 4000
"""Bytes that finishing a picture takes on a CPU for a low-resolution pixel; measured at 640x480."""
HOST_FRAME_BYTES_PER_PIXEL = 400
"""Bytes of a frame in a batch on a CPU, noise and latents included, for a low-resolution pixel; counted."""
HOST_LEAST_BYTES_PER_PIXEL = 2400
"""Bytes that a picture takes at least on a CPU for a low-resolution pixel, whatever the model: finishing
works on whole frames; measured with `compact`, which takes 2420 to 5780 at 640x480."""

# What a GPU takes is counted on a simulated one (`tests.simulated_gpu`), not measured on a real one.
PICTURE_BYTES_PER_PIXEL = 3 * SCALE**2 * 4
"""Bytes of a picture in float32, for a low-resolution pixel."""
FRAME_BYTES_PER_PIXEL = 160
"""Bytes of the noise, latents and source pixels of a frame in a batch, for a low-resolution pixel."""
FINISHING_BYTES_PER_PIXEL = 640
"""Bytes that finishing takes besides the frame and its picture, for a low-resolution pixel."""
WORKSPACE_BYTES = 128 * 2**20
"""Bytes that CUDA's libraries take for their work: 8 to 32 MiB for products of matrices, and what the
algorithms of convolutions ask for. Assumed, since the simulation does not show it."""
FRAGMENTATION = 0.05
"""Share of the tensors' bytes that lie idle between them: PyTorch hands out blocks of whole MiB, and one that
is free does not always fit. Assumed, since the simulation does not show it."""
CONTEXT_BYTES = 512 * 2**20
"""Bytes of a GPU that a process takes for the driver and the code of kernels, which PyTorch does not count.
Assumed; NVIDIA documents no number."""
SHARE_OF_DEVICE = 0.9
"""Share of a device's memory that a job may use; the rest is for others."""
_FINISHED = PICTURE_BYTES_PER_PIXEL + FRAME_BYTES_PER_PIXEL + FINISHING_BYTES_PER_PIXEL
_HOST_FINISHED = HOST_FINISHING_BYTES_PER_PIXEL + HOST_FRAME_BYTES_PER_PIXEL


@dataclass(frozen=True)
class Fit:
    """How frames are cut up, and where weights are kept, to fit the memory."""

    batch_size: int
    """Number of frames that are denoised together."""
    tile_size: int | None
    """Greatest side of independent tiles, in low-resolution pixels; None for whole frames."""
    decode_tile: int | None = None
    """Side of a square that bounds what is decoded at once, in latents; None for a model without tiles."""
    is_offloaded: bool = False
    """Whether the denoiser's weights stay in host memory until they are needed."""

    def suits(self, multiple: int) -> bool:
        """Return whether the sides of tiles can be multiples of a number, as a model may need them."""
        return self.tile_size is None or self.tile_size % multiple == 0

    def smaller(self, width: int, height: int) -> Iterator["Fit"]:
        """Yield fits that take less and less memory, those that cost the least time first.

        In turn: smaller decode tiles, smaller batches, tiles, offloaded weights, and small tiles.

        Args:
            width: width of a frame, in low-resolution pixels.
            height: height of a frame, in low-resolution pixels.
        """
        fit = self
        num_latents = self.batch_size * width * height
        for size in DECODE_TILES:
            if fit.decode_tile is not None and size < fit.decode_tile and size**2 < num_latents:
                yield (fit := replace(fit, decode_tile=size))
        while fit.batch_size > 1:
            yield (fit := replace(fit, batch_size=fit.batch_size // 2))
        for size in fit._tile_sizes(TILES, width, height):
            yield (fit := replace(fit, tile_size=size))
        if not fit.is_offloaded:
            yield (fit := replace(fit, is_offloaded=True))
        for size in fit._tile_sizes(SMALL_TILES, width, height):
            yield (fit := replace(fit, tile_size=size))

    def choices(self, width: int, height: int) -> Iterator["Fit"]:
        """Yield all fits that take no more memory in any respect, those that cost the least time first.

        Args:
            width: width of a frame, in low-resolution pixels.
            height: height of a frame, in low-resolution pixels.
        """
        sides = self._tile_sizes(TILES, width, height)
        batches = [self.batch_size >> i for i in range(self.batch_size.bit_length())]
        num_latents = self.batch_size * width * height
        pieces = [size for size in DECODE_TILES if size < (self.decode_tile or 0) and size**2 < num_latents]
        for is_offloaded, tile_size in product(sorted({self.is_offloaded, True}), [self.tile_size, *sides]):
            # Smaller tiles are for frames that don't fit one at a time.
            sizes = batches if tile_size == self.tile_size else [1]
            for batch_size, decode_tile in product(sizes, [self.decode_tile, *pieces]):
                yield Fit(batch_size, tile_size, decode_tile, is_offloaded)
        for tile_size in self._tile_sizes(SMALL_TILES, width, height):
            for decode_tile in (self.decode_tile, *pieces):
                yield Fit(1, tile_size, decode_tile, is_offloaded=True)

    def _tile_sizes(self, sizes: Sequence[int], width: int, height: int) -> list[int]:
        """Return the sizes of smaller tiles, without those that even smaller ones beat in pixels, too.

        Args:
            sizes: sizes to choose from, from large to small.
            width: width of a frame, in low-resolution pixels.
            height: height of a frame, in low-resolution pixels.
        """
        chosen: list[int] = []
        fewest = math.inf
        for size in reversed(sizes):
            num_tiles, num_pixels = tiling(height, width, size)
            if num_tiles * num_pixels < fewest:
                chosen, fewest = [size, *chosen], num_tiles * num_pixels
        return [size for size in chosen if size < (self.tile_size or max(width, height))]

    def difference(self, before: "Fit") -> str:
        """Describe in a few words how this differs from another fit."""
        descriptions = {
            "batch_size": f"in batches of {self.batch_size}",
            "tile_size": f"in independent tiles of {self.tile_size}",
            "decode_tile": f"decoding {self.decode_tile}x{self.decode_tile} latents at a time",
            "is_offloaded": "with the denoiser's weights in host memory until they are needed",
        }
        return ", ".join(
            text for name, text in descriptions.items() if getattr(self, name) != getattr(before, name)
        )


def capacity(device: torch.device, limit: int | None) -> int:
    """Return how many bytes a job may use.

    This does not depend on what happens to be free: a job that resumes tomorrow must be cut up as it is
    today.

    Args:
        device: a GPU, or the CPU, whose memory is the host's.
        limit: bytes that the user allows; None for most of the device's memory.
    """
    most = int(SHARE_OF_DEVICE * _total(device)) - (CONTEXT_BYTES if device.type == "cuda" else 0)
    return most if limit is None else min(most, limit)


def _total(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return total_memory()


def free(device: torch.device) -> int:
    """Return how many bytes this process could have on a device now, including those that it has already."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device))
    return available_memory() + int(psutil.Process().memory_info().rss)


def check_size(device: torch.device, width: int, height: int) -> None:
    """Make sure that a frame can be enlarged with the memory that there is, even if nothing else used any.

    Args:
        device: where the model runs.
        width: width of the frame, in low-resolution pixels.
        height: height of the frame, in low-resolution pixels.

    Raises:
        MemoryLimitError: it can't.
    """
    is_on_host = device.type == "cpu"
    total = _total(device) + (int(psutil.swap_memory().total) if is_on_host else 0)
    base = HOST_BYTES if is_on_host else CONTEXT_BYTES
    needed = base + width * height * (HOST_LEAST_BYTES_PER_PIXEL if is_on_host else _FINISHED)
    if needed <= total:
        return
    each = HOST_BYTES_PER_PIXEL + _HOST_FINISHED if is_on_host else _FINISHED
    reduced = math.sqrt(max(0.0, SHARE_OF_DEVICE * total - base) / each / (width * height))
    fitting = f"{max(1, int(width * reduced))}x{max(1, int(height * reduced))}"
    memory = f"{format_disk(total)} of {device} memory{' and swap' if is_on_host else ''}"
    raise MemoryLimitError(
        f"{width}x{height} needs at least about {format_disk(needed)}, but there are only {memory}: "
        f"reduce it (about {fitting} fits), use another --device, or start anyway with --ignore-memory."
    )


def enforce(device: torch.device, limit: int) -> None:
    """Limit the bytes that PyTorch takes of a GPU; there is no such limit for a CPU."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total), device)
