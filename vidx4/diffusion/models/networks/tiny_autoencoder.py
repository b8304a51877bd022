"""Decode latents to pixels with the tiny autoencoder of Stream-DiffVSR."""

from copy import deepcopy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from vidx4.frames import SCALE

if TYPE_CHECKING:
    from vidx4.diffusion.models.networks.tiny_network import TemporalAutoencoderTiny

FIELDS = 5
"""Fields as large as the widest layer that decoding holds at its peak, counted: the features of the frame
before, and what a block takes and makes."""
DECODE_OPERATIONS, SEEING_OPERATIONS = 8.39e6, 15.86e6
"""Operations for each latent of decoding a frame by itself, and of decoding one that sees the frame before,
which is encoded then; counted."""


class TinyAutoencoder:
    """The tiny autoencoder of Stream-DiffVSR, which decodes frames one by one, each of them as a whole.

    Args:
        vae: the network.
        seen: the result of the frame before, moved along to this one, about [-1, 1], (1, 3, 4H, 4W); None to
            decode a frame by itself.
    """

    grid = 1

    def __init__(self, vae: "TemporalAutoencoderTiny", seen: Tensor | None = None) -> None:
        self.vae = vae
        self._seen = seen
        self.latent_channels: int = vae.config.latent_channels

    def seeing(self, picture: Tensor) -> "TinyAutoencoder":
        """Return an autoencoder with the same weights that sees the frame before; see the class."""
        return TinyAutoencoder(self.vae, picture)

    def in_float32(self) -> "TinyAutoencoder":
        """Return an autoencoder with the same weights in float32: this one if it has them."""
        if self.vae.dtype == torch.float32:
            return self
        weights = {id(each): nn.Parameter(each.float(), False) for each in self.vae.parameters()}
        return TinyAutoencoder(deepcopy(self.vae, weights), self._seen)

    def decode(self, latents: Tensor, low_res: Tensor) -> Tensor:
        """Return the pictures that latents stand for; see `Autoencoder`. `low_res` is ignored."""
        latents = latents.to(self.vae.dtype)
        if self._seen is None:
            return torch.cat([self.vae.decode(frame) for frame in latents.split(1)]).float()
        if len(latents) > 1:
            raise ValueError("only one frame at a time can see the frame before")
        return self.vae.decode(latents, self.vae.features(self._seen.to(self.vae.dtype))).float()

    def decode_bytes(self, tile_size: int | None, num_frames: int, num_latents: int) -> int:
        """Estimate the bytes that decoding takes at its peak, including the result, but not the weights.

        Args:
            tile_size: ignored, since a frame is decoded as a whole.
            num_frames: number of frames decoded in one call.
            num_latents: height times width of each frame's latents.
        """
        width: int = self.vae.config.decoder_block_out_channels[0]
        frame = 3 * SCALE**2 * torch.float32.itemsize * num_latents
        itemsize: int = self.vae.dtype.itemsize
        return SCALE**2 * width * FIELDS * itemsize * num_latents + 2 * num_frames * frame


def decode_operations(width: int, height: int) -> float:
    """Count the operations of decoding a frame by itself, by the width and height of its latents."""
    return DECODE_OPERATIONS * width * height


def decode_seeing_operations(width: int, height: int) -> float:
    """Count the operations of decoding a frame that sees the frame before."""
    return SEEING_OPERATIONS * width * height
