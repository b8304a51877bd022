"""Decode latents to pixels in bounded memory."""

from copy import deepcopy
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import Tensor, nn

from vidx4.diffusion.models.networks.decoder_attention import AttentionReach
from vidx4.diffusion.models.networks.strip_decoder import StripDecoder
from vidx4.frames import SCALE

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

DEFAULT_REACH = AttentionReach()
"""The reach of the attention unless another is asked for."""
TILE_SIZE = 128
"""Default side of a decode tile, in latents."""
# What decoding holds at its peak, in fields as large as the stream at full resolution: counted by the
# simulation of a GPU in the tests. Whole, they are the stream before and after an upsampler and a norm of it;
# in strips, the stream and the middle of a residual block.
WHOLE_FIELDS = 6
KEPT_FIELDS = 2
STRIP_FIELDS = 3
"""Fields of a strip besides the one that a norm gives, which is in float32 even in half precision."""
ONE_STRIP_FIELDS = 3
"""Fields in float32, besides those that are kept, if all of a picture is one strip."""


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


class TrainedAutoencoder(Autoencoder, Protocol):
    """A decoder that has weights."""

    vae: Any
    """The network."""

    def in_float32(self) -> "TrainedAutoencoder":
        """Return an autoencoder with the same weights in float32: this one if it has them."""
        ...

    def decode_bytes(self, tile_size: int | None, num_frames: int, num_latents: int) -> int:
        """Estimate the bytes that decoding takes at its peak, including the result, but not the weights.

        Args:
            tile_size: side of a decode tile, in latents; None for a decoder without tiles.
            num_frames: number of frames decoded in one call.
            num_latents: height times width of each frame's latents.
        """
        ...


class TiledAutoencoder:
    """The f=4 autoencoder of the Stable Diffusion x4 Upscaler in bounded memory.

    Pictures that together are no larger than a tile are decoded by diffusers. A larger picture is decoded
    layer by layer in strips of a tile's area, with the same result; see `StripDecoder`. So is one whose
    attention is not exact, which depends on its size alone, never on that of the tile; see `AttentionReach`.

    Args:
        vae: the autoencoder in float32, or in float16 after `shrink_stream`.
        tile_size: side of the square, in latents, whose area bounds what is decoded at once; may be changed
            at any time.
        reach: the reach of the attention.
    """

    grid = 1

    def __init__(
        self,
        vae: "AutoencoderKL",
        tile_size: int = TILE_SIZE,
        reach: AttentionReach = DEFAULT_REACH,
    ) -> None:
        self.vae = vae
        self.tile_size = tile_size
        self._reach = reach
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
        return torch.cat([self._decode(frames) for frames in latents.split(num_at_once)])

    def decode_bytes(self, tile_size: int | None, num_frames: int, num_latents: int) -> int:
        """Estimate the bytes that decoding takes at its peak; see `TrainedAutoencoder`."""
        tile_size = tile_size or self.tile_size
        itemsize: int = self.vae.dtype.itemsize
        if num_latents <= min(tile_size**2, self._reach.near):
            size = itemsize * WHOLE_FIELDS * min(tile_size**2, num_frames * num_latents)
        elif num_latents <= tile_size**2:
            one_strip = torch.float32.itemsize * ONE_STRIP_FIELDS
            size = (itemsize * KEPT_FIELDS + one_strip) * num_latents
        else:
            # Strips are bounded where there are twice as many channels as at the end: there, twice the rows.
            strip = min(num_latents, 2 * tile_size**2)
            strip_bytes = itemsize * STRIP_FIELDS + torch.float32.itemsize
            size = itemsize * KEPT_FIELDS * num_latents + strip_bytes * strip
        width: int = self.vae.config.block_out_channels[0]
        frame = 3 * SCALE**2 * torch.float32.itemsize * num_latents
        # The result counts twice, before and after it is put together.
        return SCALE**2 * width * size + 2 * num_frames * frame

    def _decode(self, latents: Tensor) -> Tensor:
        height, width = latents.shape[2:]
        if height * width <= self.tile_size**2 and self._reach.covers(height, width):
            return cast(Tensor, self.vae.decode(latents, return_dict=False)[0]).float()
        max_elements = self.vae.config.block_out_channels[1] * (SCALE * self.tile_size) ** 2
        decoder = StripDecoder(self.vae.decoder, max_elements, self._reach)
        return torch.cat([decoder.decode(self._unquantize(frame)) for frame in latents.split(1)])

    def _unquantize(self, latents: Tensor) -> Tensor:
        convolution = self.vae.post_quant_conv
        return latents if convolution is None else cast(Tensor, convolution(latents))
