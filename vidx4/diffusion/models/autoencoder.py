"""Decode latents to pixels in bounded memory."""

from copy import deepcopy
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor, nn

from vidx4.diffusion.models.strip_decoder import StripDecoder
from vidx4.diffusion.tiles import map_tiles
from vidx4.frames import SCALE

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

TILE_SIZE = 128
"""Default side of a decode tile, in latents."""
PART_SIDE = 8
"""Side, in tiles, of the largest picture that is decoded as one."""

# Numbers held at the peak for each latent, at 256 channels. The last one is counted: query, key, value and
# result of the attention at 512 channels, or the stream before and after its last enlargement. The others are
# the growth of resident memory in float32 on a CPU with 160x120 latents: whole, and in strips of 64**2 and
# 96**2 latents.
WHOLE_ELEMENTS = 12_500
STRIP_ELEMENTS = 21_000
STREAM_ELEMENTS = 3_072


class Autoencoder(Protocol):
    """A decoder of clean latents to pixels."""

    latent_channels: int
    """Channels of the latents."""
    grid: int
    """Points per low-resolution pixel, along each side, that pixel unshuffle folds into the channels."""

    def decode(self, latents: Tensor, low_res: Tensor) -> Tensor:
        """Return the pictures that latents stand for.

        Args:
            latents: clean latents, float32, (N, latent_channels, H, W).
            low_res: the low-resolution pictures that the denoiser saw, about [-1, 1], (N, 3, H, W).

        Returns:
            Pictures, about [-1, 1], not clamped, float32, (N, 3, 4H, 4W).
        """
        ...


class TiledAutoencoder:
    """The f=4 autoencoder of the Stable Diffusion x4 Upscaler in bounded memory.

    Pictures that together are no larger than a tile are decoded by diffusers. A larger picture is decoded
    layer by layer in strips of a tile's area, with the same result; see `StripDecoder`. One larger than
    `PART_SIDE**2` tiles is cut into overlapping parts, each of which has a tone of its own.

    Args:
        vae: the autoencoder in float32, or in float16 after `shrink_stream`.
        tile_size: side of the square, in latents, whose area bounds what is decoded at once; may be changed
            at any time.
    """

    grid = 1

    def __init__(self, vae: "AutoencoderKL", tile_size: int = TILE_SIZE) -> None:
        self.vae = vae
        self.tile_size = tile_size
        self.latent_channels: int = vae.config.latent_channels

    def in_float32(self) -> "TiledAutoencoder":
        """Return an autoencoder with the same weights in float32: this one if it has them."""
        if self.vae.dtype == torch.float32:
            return self
        # What is not a weight may have been changed, too: see `shrink_stream`.
        weights = {id(each): nn.Parameter(each.float(), False) for each in self.vae.parameters()}
        return TiledAutoencoder(deepcopy(self.vae, weights), self.tile_size)

    def decode(self, latents: Tensor, low_res: Tensor) -> Tensor:
        """Return the pictures that latents stand for; see `Autoencoder`. `low_res` is ignored."""
        latents = (latents / self.vae.config.scaling_factor).to(self.vae.dtype)
        num_at_once = max(1, self.tile_size**2 // latents[0, 0].numel())
        return torch.cat([self._decode_in_parts(frames) for frames in latents.split(num_at_once)])

    def decode_bytes(self, tile_size: int, num_frames: int, num_latents: int) -> int:
        """Estimate the bytes that decoding takes at its peak, including the result, but not the weights.

        Args:
            tile_size: side of a decode tile, in latents.
            num_frames: number of frames decoded in one call.
            num_latents: height times width of each frame's latents.
        """
        itemsize: int = self.vae.dtype.itemsize
        if num_latents <= tile_size**2:
            size = itemsize * WHOLE_ELEMENTS * min(tile_size**2, num_frames * num_latents)
        else:
            kept = min(num_latents, (PART_SIDE * tile_size) ** 2)
            # Even in half precision, a strip is in float32 when it leaves a group norm.
            size = torch.float32.itemsize * STRIP_ELEMENTS * tile_size**2 + itemsize * STREAM_ELEMENTS * kept
        width: int = self.vae.config.block_out_channels[1]
        frame = 3 * SCALE**2 * torch.float32.itemsize * num_latents
        # The result counts twice, before and after it is put together.
        return size * width // 256 + 2 * num_frames * frame

    def _decode_in_parts(self, latents: Tensor) -> Tensor:
        if latents[0, 0].numel() <= (PART_SIDE * self.tile_size) ** 2:
            return self._decode(latents)
        return map_tiles(self._decode, latents, PART_SIDE * self.tile_size, self.tile_size // 2, SCALE)

    def _decode(self, latents: Tensor) -> Tensor:
        if latents[0, 0].numel() <= self.tile_size**2:
            return cast(Tensor, self.vae.decode(latents, return_dict=False)[0]).float()
        num_channels = self.vae.config.block_out_channels[1]
        max_elements = num_channels * (SCALE * self.tile_size) ** 2
        return StripDecoder(self.vae.decoder, max_elements).decode(self._unquantize(latents))

    def _unquantize(self, latents: Tensor) -> Tensor:
        convolution = self.vae.post_quant_conv
        return latents if convolution is None else cast(Tensor, convolution(latents))
