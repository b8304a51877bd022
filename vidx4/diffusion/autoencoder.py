"""Latents to pixels in bounded memory."""

from typing import Protocol, cast

from diffusers import AutoencoderKL
from torch import Tensor

from vidx4.diffusion.tiles import map_tiles
from vidx4.video import SCALE

TILE_SIZE = 128
TILE_OVERLAP = 32


class Autoencoder(Protocol):
    """What turns clean latents into pixels."""

    latent_channels: int
    grid: int
    """Points per low-resolution pixel, along each side, that pixel unshuffle folds into the channels."""

    def decode(self, latents: Tensor, low_res: Tensor) -> Tensor:
        """Return pictures.

        Args:
            latents: clean, float32, (N, latent_channels, H, W).
            low_res: what the denoiser saw, about [-1, 1], (N, 3, H, W).

        Returns:
            About [-1, 1], not clamped, float32, (N, 3, 4H, 4W).
        """
        ...


class TiledAutoencoder:
    """The f=4 autoencoder of the Stable Diffusion x4 Upscaler, decoded by overlapping tiles.

    Its attention takes memory with the fourth power of the picture's side, so a picture larger than a tile
    is cut. It stays in float32: its activations exceed what float16 holds, and bfloat16 bands gradients.

    Args:
        vae: in float32.
        tile_size: side of a tile in latents; the model was trained at 128.
        tile_overlap: of neighbouring tiles in latents.
    """

    grid = 1

    def __init__(
        self, vae: AutoencoderKL, tile_size: int = TILE_SIZE, tile_overlap: int = TILE_OVERLAP
    ) -> None:
        self.vae = vae
        self.tile_size = tile_size
        self.tile_overlap = tile_overlap
        self.latent_channels: int = vae.config.latent_channels

    def decode(self, latents: Tensor, low_res: Tensor) -> Tensor:
        """Return pictures; see `Autoencoder.decode`. `low_res` has no influence."""
        latents = latents.to(self.vae.dtype) / self.vae.config.scaling_factor
        if max(latents.shape[2:]) <= self.tile_size:
            return self._decode(latents)
        return map_tiles(self._decode, latents, self.tile_size, self.tile_overlap, SCALE)

    def _decode(self, latents: Tensor) -> Tensor:
        return cast(Tensor, self.vae.decode(latents, return_dict=False)[0])
