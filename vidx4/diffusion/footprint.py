"""The memory that a model and its frames take on a device, by how frames are cut up."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch

from vidx4.diffusion.memory import (
    DECODE_TILES,
    FINISHING_BYTES_PER_PIXEL,
    FRAGMENTATION,
    FRAME_BYTES_PER_PIXEL,
    HOST_BYTES,
    HOST_BYTES_PER_PIXEL,
    HOST_FINISHING_BYTES_PER_PIXEL,
    HOST_FRAME_BYTES_PER_PIXEL,
    PICTURE_BYTES_PER_PIXEL,
    WORKSPACE_BYTES,
    Fit,
)
from vidx4.diffusion.models.components import Components, num_bytes
from vidx4.diffusion.models.networks.compact_denoiser import HIDDEN_CHANNELS
from vidx4.diffusion.settings import Settings
from vidx4.diffusion.tiles import tiling
from vidx4.frames import SCALE

LARGEST_LAYERS = 100 * 2**20
"""Bytes of weights that are on a GPU at a time when weights are offloaded."""
RECALLED_PICTURES = 2
"""Raw results that exist at a time: the last frame's and this one's."""
NUM_TIED = 3
"""Copies of the latents of tied steps: the last frame's, this one's, and those being put together."""


@dataclass(frozen=True)
class Footprint(ABC):
    """The memory that a model and its frames take on a device."""

    denoiser: int
    """Bytes of the denoiser's weights."""
    autoencoder: int
    """Bytes of the autoencoder's weights, which are never offloaded."""
    bytes_per_pixel: int
    """Bytes that denoising takes for a low-resolution pixel of a frame."""
    decode_bytes: Callable[[int | None, int, int], int] | None
    """Bytes that decoding takes, by the side of a decode tile, the number of frames decoded at once, and the
    latents of each; None for a model whose decoding takes no more than denoising."""
    has_decode_tiles: bool
    """Whether frames are decoded in tiles; otherwise, each is decoded as a whole."""
    is_lessened_by_tiles: bool
    """Whether tiles save memory: not if finishing, which works on whole frames, takes more than denoising."""
    size_multiple: int
    """Number of which both sides of a tile are multiples."""

    @abstractmethod
    def needed(self, fit: Fit, width: int, height: int) -> int:
        """Return how many bytes a batch takes in all, including the weights.

        Args:
            fit: how frames are cut up.
            width: width of a frame, in low-resolution pixels.
            height: height of a frame, in low-resolution pixels.
        """

    def fitted(self, preferred: Fit, width: int, height: int, available: int) -> Fit:
        """Return the fastest fit up to the preferred one that takes no more than the available bytes.

        If none does, it is the one that takes the least.
        """
        fits = [fit for fit in preferred.choices(width, height) if fit.suits(self.size_multiple)]
        least = min(fits, key=lambda fit: self.needed(fit, width, height))
        return next((fit for fit in fits if self.needed(fit, width, height) <= available), least)

    def least(self, width: int, height: int) -> int:
        """Return how many bytes a frame takes at least, however it is cut up."""
        decode_tile = DECODE_TILES[0] if self.has_decode_tiles else None
        fits = Fit(1, None, decode_tile).choices(width, height)
        suited = (fit for fit in fits if fit.suits(self.size_multiple))
        return min(self.needed(fit, width, height) for fit in suited)

    def _tiles(self, fit: Fit, width: int, height: int) -> tuple[int, int]:
        """Return the number of tiles of a frame, 1 if it is whole, and the pixels of each."""
        if fit.tile_size is None or not self.is_lessened_by_tiles:
            return 1, width * height
        return tiling(height, width, fit.tile_size, self.size_multiple)

    def _decoding(self, fit: Fit, num_frames: int, num_pixels: int) -> int:
        if self.decode_bytes is None:
            return 0
        return self.decode_bytes(fit.decode_tile, num_frames, num_pixels)


@dataclass(frozen=True)
class HostFootprint(Footprint):
    """What a process on a CPU takes, decoding and encoding included; measured."""

    def needed(self, fit: Fit, width: int, height: int) -> int:
        """Return how many bytes a batch takes; see `Footprint`."""
        frame = width * height
        num_tiles, num_pixels = self._tiles(fit, width, height)
        num_frames = fit.batch_size if num_tiles == 1 else 1
        denoising = num_frames * num_pixels * self.bytes_per_pixel
        decoding = self._decoding(fit, num_frames, num_pixels)
        finishing = frame * HOST_FINISHING_BYTES_PER_PIXEL
        frames = frame * (HOST_BYTES_PER_PIXEL + HOST_FRAME_BYTES_PER_PIXEL * fit.batch_size)
        # Offloading moves nothing: the host's memory is the device's.
        weights = self.denoiser + self.autoencoder
        return weights + HOST_BYTES + frames + max(denoising, decoding, finishing)


@dataclass(frozen=True)
class GPUFootprint(Footprint):
    """What PyTorch takes of a GPU: that of the stage that takes most, with a margin; counted."""

    remembered_bytes: int
    """Bytes of the latents and hidden state that frames leave for the next, for a low-resolution pixel."""

    def needed(self, fit: Fit, width: int, height: int) -> int:
        """Return how many bytes a batch takes; see `Footprint`."""
        return WORKSPACE_BYTES + int((1 + FRAGMENTATION) * self.tensors(fit, width, height))

    def tensors(self, fit: Fit, width: int, height: int) -> int:
        """Return the bytes of the tensors that exist at the peak, without a margin; see `needed`."""
        frame = width * height
        num_tiles, num_pixels = self._tiles(fit, width, height)
        num_frames = fit.batch_size if num_tiles == 1 else 1
        # A frame's tiles exist until the next one is done.
        tiles = 0
        if num_tiles > 1:
            tiles = num_tiles * num_pixels * (PICTURE_BYTES_PER_PIXEL + self.remembered_bytes)
        beside = num_frames * num_pixels * FRAME_BYTES_PER_PIXEL
        denoising = beside + num_frames * num_pixels * self.bytes_per_pixel
        decoding = beside + self._decoding(fit, num_frames, num_pixels)
        pictures = frame * num_frames * (PICTURE_BYTES_PER_PIXEL + FRAME_BYTES_PER_PIXEL)
        finishing = pictures + frame * FINISHING_BYTES_PER_PIXEL
        kept = 2 * tiles + frame * num_frames * self.remembered_bytes
        return self._weights(fit) + kept + max(denoising, decoding, finishing)

    def _weights(self, fit: Fit) -> int:
        return self.autoencoder + (min(LARGEST_LAYERS, self.denoiser) if fit.is_offloaded else self.denoiser)


def footprint_of(components: Components, settings: Settings) -> Footprint:
    """Return the memory that a model takes on its device."""
    prompts, autoencoder = components.prompt_embeds, components.trained_autoencoder
    num_rows = 2 if prompts is not None and prompts.guides(settings.guidance_scale) else 1
    is_on_host, itemsize = components.device.type == "cpu", components.unet.dtype.itemsize
    values = components.host_values_per_pixel if is_on_host else components.values_per_pixel
    fields = {
        "denoiser": num_bytes(components.unet),
        "autoencoder": 0 if autoencoder is None else num_bytes(autoencoder.vae),
        "bytes_per_pixel": num_rows * values * itemsize,
        "decode_bytes": None if autoencoder is None else autoencoder.decode_bytes,
        "has_decode_tiles": components.tiled_autoencoder is not None,
        "is_lessened_by_tiles": components.is_lessened_by_tiles,
        "size_multiple": components.size_multiple,
    }
    if is_on_host:
        return HostFootprint(**fields)
    return GPUFootprint(**fields, remembered_bytes=_remembered_bytes(components, settings))


def _remembered_bytes(components: Components, settings: Settings) -> int:
    latents = NUM_TIED * len(settings.ties) * 4 * components.autoencoder.latent_channels
    if settings.recall is not None:
        return latents + recalled_bytes(components.unet.dtype)
    hidden = HIDDEN_CHANNELS * components.unet.dtype.itemsize if settings.remembers else 0
    return latents + hidden


def recalled_bytes(dtype: torch.dtype) -> int:
    """Return the bytes of raw results for a low-resolution pixel, in the model's type."""
    return RECALLED_PICTURES * 3 * SCALE**2 * dtype.itemsize
