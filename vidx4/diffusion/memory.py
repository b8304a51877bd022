"""How much memory there is for a model, and how frames are cut up to fit it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import psutil
import torch

DECODE_TILES = (128, 96, 64)
"""What a model with an autoencoder decodes at once, from the fastest to the smallest."""
TILES = (768, 512, 384, 256, 192, 128)
"""Sides of the tiles in which frames are denoised where no whole one fits."""

HOST_BYTES = 450 * 2**20
"""Of a process on a CPU before the first frame: Python and its libraries."""
HOST_BYTES_PER_PIXEL = 5600
"""Of decoding, encoding and the frames between, for a low-resolution pixel: measured at 320x240 (H.264)."""
FINISHING_BYTES_PER_PIXEL = 4000
"""Of finishing a picture, for a low-resolution pixel: measured at 640x480 on a CPU."""
FRAME_BYTES_PER_PIXEL = 400
"""Of the noise, latents and pixels of each frame of a batch, for a low-resolution pixel; counted."""
SHARE_OF_DEVICE = 0.9
"""Of a device's memory; the rest is for its other users."""
LARGEST_LAYERS = 100 * 2**20
"""Bytes of weights that are on the device at once when the others wait in the host's memory."""


@dataclass(frozen=True)
class Fit:
    """How frames are cut up, and where weights are kept, so that the memory is enough."""

    batch_size: int
    """Frames that are denoised together."""
    tile_size: int | None
    """Side of the tiles that are denoised, each by itself; None for whole frames."""
    decode_tile: int | None = None
    """Bounds what is decoded at once: the side of a square, in latents; None for a model that need not."""
    is_offloaded: bool = False
    """Whether the denoiser's weights wait in the host's memory until they are needed."""

    def smaller(self, width: int, height: int) -> Iterator["Fit"]:
        """Yield what takes less and less memory, in the order of what it costs.

        That is: decoding by smaller tiles, smaller batches, denoising by tiles, and weights that wait in the
        host's memory.

        Args:
            width: of a frame, in low-resolution pixels.
            height: the same.
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
        """Tell in a few words what is other than before."""
        told = {
            "batch_size": f"in batches of {self.batch_size}",
            "tile_size": f"in tiles of {self.tile_size}, each by itself",
            "decode_tile": f"decoding {self.decode_tile}x{self.decode_tile} latents at once",
            "is_offloaded": "with the denoiser's weights in the host's memory until they are needed",
        }
        return ", ".join(text for name, text in told.items() if getattr(self, name) != getattr(before, name))


def capacity(device: torch.device, limit: int | None) -> int:
    """Return how many bytes a job may count on.

    That is not what happens to be free: a job that goes on tomorrow must be cut up as it is today.

    Args:
        device: a GPU, or the CPU, whose memory is the host's.
        limit: what the user allows; None for most of what the device has.
    """
    if device.type == "cuda":
        total = int(torch.cuda.get_device_properties(device).total_memory)
    else:
        total = int(psutil.virtual_memory().total)
    most = int(SHARE_OF_DEVICE * total)
    return most if limit is None else min(most, limit)


def free(device: torch.device) -> int:
    """Return how many bytes this process may have on a device now, with those that it has already."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device))
    return int(psutil.virtual_memory().available + psutil.Process().memory_info().rss)


def enforce(device: torch.device, limit: int) -> None:
    """Let PyTorch take no more of a GPU than a limit in bytes; a CPU has no such means."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total), device)


@dataclass(frozen=True)
class Footprint:
    """What a model and its frames take of a device's memory; measured, but for its weights."""

    denoiser: int
    """Bytes of the denoiser's weights."""
    autoencoder: int
    """Bytes of the autoencoder's, which never wait."""
    bytes_per_pixel: int
    """Of denoising, for a low-resolution pixel of each frame, twice that with guidance."""
    decode_bytes: Callable[[int, int, int], int]
    """Of decoding, by the side of a tile, the frames at once and the latents of each."""
    is_lessened_by_tiles: bool
    """Whether it is the denoiser that takes the most: finishing a picture takes the whole of it anyway."""
    is_on_host: bool
    """Whether the device's memory also holds the program itself, and what it decodes and encodes."""

    def needed(self, fit: Fit, width: int, height: int) -> int:
        """Return how many bytes frames take, with the weights and all.

        Args:
            fit: how they are cut up.
            width: of a frame, in low-resolution pixels.
            height: the same.
        """
        num_frames, num_pixels = fit.batch_size, width * height
        if fit.tile_size is not None and self.is_lessened_by_tiles:
            num_frames, num_pixels = 1, min(fit.tile_size, width) * min(fit.tile_size, height)
        denoising = num_frames * num_pixels * self.bytes_per_pixel
        decoding = self.decode_bytes(fit.decode_tile or 0, num_frames, num_pixels)
        frames = width * height * (FINISHING_BYTES_PER_PIXEL + FRAME_BYTES_PER_PIXEL * fit.batch_size)
        return self._weights(fit) + self._host(width * height) + frames + max(denoising, decoding)

    def _weights(self, fit: Fit) -> int:
        # On the host, where they wait is where they are needed.
        waits = fit.is_offloaded and not self.is_on_host
        return self.autoencoder + (min(LARGEST_LAYERS, self.denoiser) if waits else self.denoiser)

    def _host(self, num_pixels: int) -> int:
        return HOST_BYTES + num_pixels * HOST_BYTES_PER_PIXEL if self.is_on_host else 0

    def fitted(self, wish: Fit, width: int, height: int, available: int) -> Fit:
        """Return what fits the available bytes and is nearest to a wish; what takes least if nothing does."""
        fits = [wish, *wish.smaller(width, height)]
        least = min(fits, key=lambda fit: self.needed(fit, width, height))
        return next((fit for fit in fits if self.needed(fit, width, height) <= available), least)
