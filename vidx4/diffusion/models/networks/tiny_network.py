"""The network of Stream-DiffVSR's autoencoder, with the names and shapes of the published weights."""

from collections.abc import Iterator, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

NUM_STAGES = 3
"""Resolutions that the autoencoder works at: the latents', twice and four times that."""
_POOL = 4
"""Side of the squares whose means a block mixes with those of the frame before."""
_SHARE = 0.1
"""How much of the mixture is added to a block's own features."""
_WIDTHS = (64,) * NUM_STAGES


class TemporalAutoencoderTiny(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """The autoencoder of Stream-DiffVSR (Shiu et al. 2025), a TAESD whose blocks may see a frame before.

    The name and the settings are those of the published configuration.

    Args:
        in_channels: channels of a picture.
        out_channels: channels of a picture.
        encoder_block_out_channels: channels of the encoder at each resolution, all equal, the highest first.
        decoder_block_out_channels: channels of the decoder at each resolution, all equal, the lowest first.
        act_fn: activation function.
        upsample_fn: interpolation between resolutions.
        latent_channels: channels of the latents.
        upsampling_scaling_factor: factor between resolutions.
        num_encoder_blocks: blocks of the encoder at each resolution.
        num_decoder_blocks: blocks of the decoder at each resolution.
        latent_magnitude: bound of the latents that the decoder sees.
        latent_shift: has no effect on decoding.
        force_upcast: has no effect.
        scaling_factor: factor of the latents that the denoiser works on.
        shift_factor: has no effect.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        encoder_block_out_channels: Sequence[int] = _WIDTHS,
        decoder_block_out_channels: Sequence[int] = _WIDTHS,
        act_fn: str = "relu",
        upsample_fn: str = "nearest",
        latent_channels: int = 4,
        upsampling_scaling_factor: int = 2,
        num_encoder_blocks: Sequence[int] = (1, 3, 3),
        num_decoder_blocks: Sequence[int] = (3, 3, 1),
        latent_magnitude: float = 3,
        latent_shift: float = 0.5,
        force_upcast: bool = False,
        scaling_factor: float = 1.0,
        shift_factor: float = 0.0,
    ) -> None:
        super().__init__()
        width = encoder_block_out_channels[0]
        if {*encoder_block_out_channels, *decoder_block_out_channels} != {width}:
            raise ValueError("all of its blocks must have as many channels")
        stages = (len(num_encoder_blocks), len(num_decoder_blocks))
        if stages != (len(encoder_block_out_channels), len(decoder_block_out_channels)):
            raise ValueError("it must have numbers of blocks and of channels for each resolution")
        if list(num_encoder_blocks) != list(num_decoder_blocks)[::-1]:
            raise ValueError("its encoder and decoder must have as many blocks at each resolution")
        self.encoder = _Layers(_encoder_layers(in_channels, width, latent_channels, num_encoder_blocks))
        self.decoder = _Layers(_decoder_layers(latent_channels, width, out_channels, num_decoder_blocks))

    def features(self, picture: Tensor) -> list[Tensor]:
        """Return what the encoder's blocks make of a picture, in the order in which the decoder uses it.

        The network was trained with features of pictures in [-1, 1], though encoding begins with [0, 1].

        Args:
            picture: about [-1, 1], (N, 3, H, W).

        Returns:
            Features, (N, width, H, W) and at a half and a quarter of that size, the smallest first.
        """
        features, hidden = [], picture
        for layer in list(self.encoder.layers)[:-1]:  # the last one makes latents
            hidden = layer(hidden)
            if isinstance(layer, TemporalBlock):
                features.append(hidden)
        return features[::-1]

    def decode(self, latents: Tensor, features: list[Tensor] | None = None) -> Tensor:
        """Return the pictures that latents stand for.

        Args:
            latents: latents as the denoiser gives them, (N, latent_channels, H, W).
            features: the features of a picture of the frame before, which are removed as soon as they have
                been used; None to decode without.

        Returns:
            Pictures, about [-1, 1], not clamped, (N, 3, 4H, 4W).
        """
        bound = self.config.latent_magnitude
        hidden = torch.tanh(latents / self.config.scaling_factor / bound) * bound
        for layer in self.decoder.layers:
            if isinstance(layer, TemporalBlock):
                hidden = layer(hidden, None if features is None else features.pop(0))
            else:
                hidden = layer(hidden)
        return cast(Tensor, 2 * hidden - 1)


class _Layers(nn.Module):
    def __init__(self, layers: Iterator[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)


class TemporalBlock(nn.Module):
    """A residual block that may mix its features with those of the frame before.

    Args:
        width: number of channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        # In place: fields at full size are what decoding needs its memory for.
        relus = nn.ReLU(inplace=True), nn.ReLU(inplace=True)
        self.conv = nn.Sequential(_conv(width), relus[0], _conv(width), relus[1], _conv(width))
        self.alpha = nn.Parameter(torch.tensor(0.5))
        self.temporal_processor = nn.Sequential(
            nn.Conv1d(width, width, 3, padding=1), nn.ReLU(), nn.Conv1d(width, width, 3, padding=1)
        )

    def forward(self, x: Tensor, before: Tensor | None = None) -> Tensor:
        """Return the features of a frame, (N, width, H, W).

        Args:
            x: the input, (N, width, H, W).
            before: features of the frame before, same shape; None for a frame by itself.
        """
        own = self.conv(x)
        if before is not None:
            own.add_(self._mixed(own, before), alpha=_SHARE)
        return cast(Tensor, own.add_(x).relu_())

    def _mixed(self, own: Tensor, before: Tensor) -> Tensor:
        """Mix the features of two frames, as one sequence in which the rows of both follow each other.

        A row's end meets the beginning of the next, so the result depends on the width of the picture.
        """
        pooled = F.avg_pool2d(own, _POOL)
        # Not views: the means of channels that lie next to each other in memory have other strides.
        sequence = torch.cat([pooled.flatten(2), F.avg_pool2d(before, _POOL).flatten(2)], dim=2)
        mine, earlier = cast(Tensor, self.temporal_processor(sequence)).chunk(2, dim=2)
        mixed = self.alpha * mine + (1 - self.alpha) * earlier
        return F.interpolate(
            mixed.reshape(pooled.shape), size=own.shape[2:], mode="bilinear", align_corners=False
        )


def _conv(width: int, stride: int = 1, *, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(width, width, 3, stride, padding=1, bias=bias)


def _encoder_layers(
    channels: int, width: int, latent_channels: int, num_blocks: Sequence[int]
) -> Iterator[nn.Module]:
    for stage, num in enumerate(num_blocks):
        yield _conv(width, 2, bias=False) if stage else nn.Conv2d(channels, width, 3, padding=1)
        yield from (TemporalBlock(width) for _ in range(num))
    yield nn.Conv2d(width, latent_channels, 3, padding=1)


def _decoder_layers(
    latent_channels: int, width: int, channels: int, num_blocks: Sequence[int]
) -> Iterator[nn.Module]:
    yield nn.Conv2d(latent_channels, width, 3, padding=1)
    yield nn.ReLU()
    for stage, num in enumerate(num_blocks):
        yield from (TemporalBlock(width) for _ in range(num))
        if stage < len(num_blocks) - 1:
            yield nn.Upsample(scale_factor=2, mode="nearest")
            yield _conv(width, bias=False)
    yield nn.Conv2d(width, channels, 3, padding=1)
