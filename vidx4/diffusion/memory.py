"""Work out how much memory there is for a model, and how to cut frames up to fit it."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import psutil
import torch

from vidx4.diffusion.host import available_memory, total_memory
from vidx4.errors import MemoryLimitError
from vidx4.syntax import format_disk

DECODE_TILES = (128, 96, 64)
"""Sides of the tiles that an autoencoder decodes at once, in latents, from the fastest to the smallest."""
TILES = (768, 512, 384, 256, 192, 128)
"""Sides of the tiles that are denoised if whole frames don't fit, in low-resolution pixels."""

HOST_BYTES = 450 * 2**20
"""Bytes of a process on a CPU before its first frame: Python and its libraries."""
HOST_BYTES_PER_PIXEL = 5600
"""Bytes that decoding, encoding and the frames between take for a low-resolution pixel; measured at 320x240
(H.264)."""
FINISHING_BYTES_PER_PIXEL = 4000
"""Bytes that finishing a picture takes for a low-resolution pixel; measured at 640x480 on a CPU."""
FRAME_BYTES_PER_PIXEL = 400
"""Bytes of the noise, latents and pixels of a frame in a batch, for a low-resolution pixel; counted."""
LEAST_BYTES_PER_PIXEL = 2400
"""Bytes that a picture takes at least for a low-resolution pixel, whatever the model: finishing works on
whole frames; measured on a CPU with `compact`, which takes 2420 to 5780 at 640x480."""
SHARE_OF_DEVICE = 0.9
"""Share of a device's memory that a job may use; the rest is for others."""
LARGEST_LAYERS = 100 * 2**20
"""Bytes of weights that are on the device at a time when weights are offloaded."""


@dataclass(frozen=True)
class Fit:
    """How frames are cut up, and where weights are kept, to fit the memory."""

    batch_size: int
    """Number of frames that are denoised together."""
    tile_size: int | None
    """Side of the tiles that are denoised independently, in low-resolution pixels; None for whole frames."""
    decode_tile: int | None = None
    """Side of a square that bounds what is decoded at once, in latents; None for a model without tiles."""
    is_offloaded: bool = False
    """Whether the denoiser's weights stay in host memory until they are needed."""

    def smaller(self, width: int, height: int) -> Iterator["Fit"]:
        """Yield fits that take less and less memory, those that cost the least time first.

        In turn: smaller decode tiles, smaller batches, denoising in tiles, and offloaded weights.

        Args:
            width: width of a frame, in low-resolution pixels.
            height: height of a frame, in low-resolution pixels.
        """
        fit = self
        for size in DECODE_TILES:
            if fit.decode_tile is not None and size < fit.decode_tile:
                yield (fit := replace(fit, decode_tile=size))
        while fit.batch_size > 1:
            yield (fit := replace(fit, batch_size=fit.batch_size // 2))
        for size in TILES:
            if size < (fit.tile_size or max(width, height)):
                yield (fit := replace(fit, tile_size=size))
        if not fit.is_offloaded:
            yield replace(fit, is_offloaded=True)

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
    most = int(SHARE_OF_DEVICE * _total(device))
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
    base = HOST_BYTES if is_on_host else 0
    needed = base + width * height * LEAST_BYTES_PER_PIXEL
    if needed <= total:
        return
    each = HOST_BYTES_PER_PIXEL + FINISHING_BYTES_PER_PIXEL + FRAME_BYTES_PER_PIXEL
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


@dataclass(frozen=True)
class Footprint:
    """The memory that a model and its frames take on a device; measured, except for the weights."""

    denoiser: int
    """Bytes of the denoiser's weights."""
    autoencoder: int
    """Bytes of the autoencoder's weights, which are never offloaded."""
    bytes_per_pixel: int
    """Bytes that denoising takes for a low-resolution pixel of a frame."""
    decode_bytes: Callable[[int, int, int], int] | None
    """Bytes that decoding takes, by the side of a decode tile, the number of frames decoded at once, and the
    latents of each; None for a model without decode tiles, whose decoding takes no more than finishing."""
    is_lessened_by_tiles: bool
    """Whether tiles save memory: not if finishing, which works on whole frames, takes more than denoising."""
    is_on_host: bool
    """Whether the device's memory is also that of the program, of decoding and of encoding."""

    def needed(self, fit: Fit, width: int, height: int) -> int:
        """Return how many bytes a batch takes in all, including the weights.

        Args:
            fit: how frames are cut up.
            width: width of a frame, in low-resolution pixels.
            height: height of a frame, in low-resolution pixels.
        """
        num_frames, num_pixels = fit.batch_size, width * height
        if fit.tile_size is not None and self.is_lessened_by_tiles:
            num_frames, num_pixels = 1, min(fit.tile_size, width) * min(fit.tile_size, height)
        denoising = num_frames * num_pixels * self.bytes_per_pixel
        decoding = self._decoding(fit, num_frames, num_pixels)
        frames = width * height * (FINISHING_BYTES_PER_PIXEL + FRAME_BYTES_PER_PIXEL * fit.batch_size)
        return self._weights(fit) + self._host(width * height) + frames + max(denoising, decoding)

    def _decoding(self, fit: Fit, num_frames: int, num_pixels: int) -> int:
        if self.decode_bytes is None or fit.decode_tile is None:
            return 0
        return self.decode_bytes(fit.decode_tile, num_frames, num_pixels)

    def _weights(self, fit: Fit) -> int:
        # On a CPU, offloading moves nothing: the host's memory is the device's.
        is_saved = fit.is_offloaded and not self.is_on_host
        return self.autoencoder + (min(LARGEST_LAYERS, self.denoiser) if is_saved else self.denoiser)

    def _host(self, num_pixels: int) -> int:
        return HOST_BYTES + num_pixels * HOST_BYTES_PER_PIXEL if self.is_on_host else 0

    def least(self, width: int, height: int) -> int:
        """Return how many bytes a frame takes at least, however it is cut up."""
        decode_tile = None if self.decode_bytes is None else DECODE_TILES[0]
        whole = Fit(1, None, decode_tile, self.is_on_host)
        return min(self.needed(fit, width, height) for fit in (whole, *whole.smaller(width, height)))

    def fitted(self, preferred: Fit, width: int, height: int, available: int) -> Fit:
        """Return the preferred fit, or the next smaller one that takes no more than the available bytes.

        If none does, it is the one that takes the least.
        """
        fits = [preferred, *preferred.smaller(width, height)]
        least = min(fits, key=lambda fit: self.needed(fit, width, height))
        return next((fit for fit in fits if self.needed(fit, width, height) <= available), least)
