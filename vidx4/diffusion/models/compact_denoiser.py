"""The networks of the bundled model: a small x4 denoiser, and an autoencoder without weights."""

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import Tensor, nn

from vidx4.diffusion.bicubic import enlarge
from vidx4.frames import SCALE

LATENT_CHANNELS = 3 * SCALE * SCALE
MEMORY_CHANNELS = LATENT_CHANNELS + 1
"""Channels of the last frame's result, as latents, and of the trust in it."""
CONDITION_CHANNELS = 3 + MEMORY_CHANNELS
"""Channels of everything that the denoiser sees besides the latents."""


class CompactDenoiser(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A network that predicts clean latents from noisy ones, the picture, and the last frame's result.

    It is a plain residual network at low resolution. It has no normalisation layers: a picture's absolute
    brightness matters to the prediction, and normalising over the picture would make every pixel depend on
    all others. Each block has a scale and a shift that depend on the timestep and the noise level (FiLM,
    Perez et al. 2018).

    At the last timestep the latents are pure noise and say nothing about the picture, so they are replaced by
    zeros: the first step is a plain regression, and noise enters from the second step on.

    The result of the last frame, moved along with the picture and folded to low resolution, brings in what
    earlier frames showed of the same things (FRVSR, Sajjadi et al. 2018); without one, its channels are zero.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        in_channels: int = LATENT_CHANNELS + CONDITION_CHANNELS,
        out_channels: int = LATENT_CHANNELS,
        width: int = 64,
        num_blocks: int = 6,
        num_train_timesteps: int = 1000,
    ) -> None:
        super().__init__()
        self.time_proj = Timesteps(width, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(width, 2 * width)
        self.level_embedding = TimestepEmbedding(width, 2 * width)
        self.conv_in = nn.Conv2d(in_channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(_ResidualBlock(width, 2 * width) for _ in range(num_blocks))
        self.conv_out = _zeroed(nn.Conv2d(width, out_channels, 3, padding=1))

    @property
    def reach(self) -> int:
        """Distance in pixels at which an input affects the prediction: one for each convolution."""
        return 2 * len(self.blocks) + 2

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: None = None,
        class_labels: Tensor | None = None,
        return_dict: bool = False,
    ) -> tuple[Tensor]:
        """Predict the clean latents; the signature is that of diffusers' `UNet2DConditionModel`.

        Args:
            sample: latents, the low-resolution picture in [-1, 1], and the channels of `Memory`,
                (N, 48 + 3 + 49, H, W).
            timestep: one timestep for all, or (N,).
            encoder_hidden_states: always None, since the model takes no prompt.
            class_labels: noise level of the low-resolution picture, (N,); None for level 0.
            return_dict: always False.

        Returns:
            Clean latents, (N, 48, H, W).
        """
        timestep = timestep.to(sample.device).expand(sample.shape[0])
        level = torch.zeros_like(timestep) if class_labels is None else class_labels
        embedding = F.silu(self._embed(timestep, level, sample.dtype))
        features = self.conv_in(self._without_terminal_noise(sample, timestep))
        hidden = features
        for block in self.blocks:
            hidden = block(hidden, embedding)
        return (self.conv_out(hidden + features),)

    def _embed(self, timestep: Tensor, level: Tensor, dtype: torch.dtype) -> Tensor:
        time = self.time_embedding(self.time_proj(timestep).to(dtype))
        return cast(Tensor, time + self.level_embedding(self.time_proj(level).to(dtype)))

    def _without_terminal_noise(self, sample: Tensor, timestep: Tensor) -> Tensor:
        """Return a sample whose latents are zero at the last timestep, in the memory format of the layers."""
        latents, conditions = sample[:, :LATENT_CHANNELS], sample[:, LATENT_CHANNELS:]
        informative = (timestep < self.config.num_train_timesteps - 1).view(-1, 1, 1, 1)
        cleaned = torch.cat([torch.where(informative, latents, 0), conditions], dim=1)
        return cleaned.contiguous(memory_format=torch.channels_last)


class _ResidualBlock(nn.Module):
    def __init__(self, width: int, embedding_dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.film = _zeroed(nn.Linear(embedding_dim, 2 * width))
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.film(embedding)[:, :, None, None].chunk(2, dim=1)
        return x + cast(Tensor, self.conv2(F.silu(torch.addcmul(shift, self.conv1(x), 1 + scale))))


def _zeroed(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class ResidualAutoencoder(ConfigMixin):  # type: ignore[misc]
    """An autoencoder whose latents are the detail that a bicubic enlargement lacks, folded to low resolution.

    Every 4x4 block of detail becomes 48 channels at one low-resolution pixel. Nothing is lost, nothing is
    trained, and decoding takes no longer than an enlargement.
    """

    config_name = "config.json"
    latent_channels = LATENT_CHANNELS
    grid = SCALE

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, scaling_factor: float = 10.0) -> None:
        super().__init__()

    def encode(self, high_res: Tensor, low_res: Tensor) -> Tensor:
        """Return the latents of pictures.

        Args:
            high_res: the pictures, in [-1, 1], (N, 3, 4H, 4W).
            low_res: the same pictures as the denoiser sees them, in [-1, 1], (N, 3, H, W).

        Returns:
            Latents, of about unit variance on photographs, (N, 48, H, W).
        """
        detail = F.pixel_unshuffle(high_res - enlarge(low_res), SCALE)
        return cast(Tensor, detail * self.config.scaling_factor)

    def decode(self, latents: Tensor, low_res: Tensor) -> Tensor:
        """Return the pictures that latents stand for, the inverse of `encode`.

        Args:
            latents: clean latents, (N, 48, H, W).
            low_res: the low-resolution pictures that the denoiser saw, in [-1, 1], (N, 3, H, W).

        Returns:
            Pictures, about [-1, 1], not clamped, (N, 3, 4H, 4W).
        """
        return F.pixel_shuffle(latents / self.config.scaling_factor, SCALE) + enlarge(low_res)


@dataclass(frozen=True)
class Memory:
    """An encoder of the last frame's result as further input of a denoiser."""

    autoencoder: ResidualAutoencoder
    """Encodes the result relative to the frame that is being denoised."""
    num_channels: int = MEMORY_CHANNELS

    def __call__(self, moved: Tensor, trust: Tensor, low_res: Tensor) -> Tensor:
        """Return the channels that describe the last result to the denoiser.

        Args:
            moved: the last result, moved along to this frame, in [-1, 1], (N, 3, 4H, 4W).
            trust: trust in that motion, in [0, 1], (N, 1, H, W).
            low_res: this frame as the denoiser sees it, in [-1, 1], (N, 3, H, W).

        Returns:
            Latents of the last result, weighted by the trust, and the trust itself, (N, 48 + 1, H, W).
        """
        return torch.cat([self.autoencoder.encode(moved, low_res) * trust, trust], dim=1)

    def blank(self, low_res: Tensor) -> Tensor:
        """Return the channels for a frame without a past, all zero, (N, 48 + 1, H, W)."""
        return low_res.new_zeros(len(low_res), self.num_channels, *low_res.shape[2:])
