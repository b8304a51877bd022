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
from vidx4.diffusion.models.networks.convolution import convolve
from vidx4.frames import SCALE

LATENT_CHANNELS = 3 * SCALE * SCALE
HIDDEN_CHANNELS = 64
"""Channels of the hidden state that one frame hands the next."""
MEMORY_CHANNELS = LATENT_CHANNELS + 1 + HIDDEN_CHANNELS
"""Channels of the last frame's result, as latents, of the trust in the motion, and of the hidden state."""
CONDITION_CHANNELS = 3 + MEMORY_CHANNELS
"""Channels of everything that the denoiser sees besides the latents."""
UNKNOWN_LEVEL = -1
"""Noise level of a picture that nobody has rated."""
RATED_DEPTHS = 0, 4, 6
"""Numbers of blocks after which features tell how damaged a picture is."""
WINDOW = 8
"""Side of the windows in which the spread of features is compared, in pixels."""
WINDOW_QUANTILES = 0.1, 0.5
"""Shares of windows that have less spread than is told: the flattest ones show noise alone."""


class CompactDenoiser(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A network that predicts clean latents from noisy ones, the picture, and what earlier frames showed.

    It is a plain residual network at low resolution. It has no normalisation layers: a picture's absolute
    brightness matters to the prediction, and normalising over the picture would make every pixel depend on
    all others. Each block has a scale and a shift that depend on the timestep, the noise level and the wanted
    texture (FiLM, Perez et al. 2018).

    At the last timestep the latents are pure noise and say nothing about the picture, so they are replaced by
    zeros: the first step is a plain regression, and noise enters from the second step on.

    Two things are remembered of the last frame, both moved along with the picture: its result, folded to low
    resolution (FRVSR, Sajjadi et al. 2018), and a hidden state, features that the network chooses (RLSP,
    Fuoli et al. 2019). Without a past, their channels are zero.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        in_channels: int = LATENT_CHANNELS + CONDITION_CHANNELS,
        out_channels: int = LATENT_CHANNELS,
        width: int = 64,
        num_blocks: int = 10,
        hidden_channels: int = HIDDEN_CHANNELS,
        num_train_timesteps: int = 1000,
        max_noise_level: int = 150,
    ) -> None:
        super().__init__()
        self.time_proj = Timesteps(width, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(width, 2 * width)
        self.level_embedding = TimestepEmbedding(width, 2 * width)
        self.unknown_level = nn.Parameter(torch.zeros(2 * width))
        self.texture_embedding = nn.Sequential(
            nn.Linear(1, 2 * width), nn.SiLU(), _zeroed(nn.Linear(2 * width, 2 * width, bias=False))
        )
        self.conv_in = nn.Conv2d(in_channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(_ResidualBlock(width, 2 * width) for _ in range(num_blocks))
        self.conv_out = _zeroed(nn.Conv2d(width, out_channels, 3, padding=1))
        self.conv_hidden = nn.Conv2d(width, hidden_channels, 1)
        num_statistics = (2 + len(WINDOW_QUANTILES)) * width * len(RATED_DEPTHS)
        self.level_head = nn.Sequential(nn.Linear(num_statistics, width), nn.SiLU(), nn.Linear(width, 1))

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
        texture: Tensor | None = None,
        return_dict: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Predict the clean latents; the signature is that of diffusers' `UNet2DConditionModel`.

        Args:
            sample: latents, which may be left out at the last timestep, the low-resolution picture in
                [-1, 1], and the channels of `Memory`, (N, 48 + 3 + 113, H, W).
            timestep: one timestep for all, or (N,).
            encoder_hidden_states: always None, since the model takes no prompt.
            class_labels: noise level of the low-resolution picture, or `UNKNOWN_LEVEL`, (N,); None for 0.
            texture: from 0, as near to the truth as possible, to 1, as much texture as the truth has, (N,);
                None for 0.
            return_dict: always False.

        Returns:
            Clean latents, (N, 48, H, W), and the hidden state for the next frame, in [-1, 1], (N, 64, H, W).
        """
        is_last = timestep >= self.config.num_train_timesteps - 1
        timestep = timestep.to(sample.device).expand(sample.shape[0])
        embedding = self._embed(timestep, class_labels, texture, sample.dtype)
        features = self._stem(sample, is_last)
        hidden = features
        for block in self.blocks:
            hidden = block(hidden, embedding)
        hidden = hidden + features
        conv_out = cast(nn.Conv2d, self.conv_out)
        clean = convolve(hidden, conv_out.weight, conv_out.bias)
        return clean, torch.tanh(self.conv_hidden(hidden))

    def estimate_level(self, low_res: Tensor) -> Tensor:
        """Estimate the noise level that restores pictures best.

        Args:
            low_res: pictures without a past, in [-1, 1], (N, 3, H, W).

        Returns:
            Noise levels from 0 to the highest, float32, (N,).
        """
        logits = self.level_head(self.level_statistics(low_res)).float().squeeze(1)
        return cast(Tensor, self.config.max_noise_level * logits.sigmoid())

    def level_statistics(self, low_res: Tensor) -> Tensor:
        """Return statistics of features at several depths over pictures of unknown level.

        Args:
            low_res: pictures without a past, in [-1, 1], (N, 3, H, W).

        Returns:
            Of each feature at each of `RATED_DEPTHS`: the mean, the standard deviation, and quantiles of the
            standard deviation in windows, (N, 4 * width * 3).
        """
        num, _, height, width = low_res.shape
        num_rest = self.config.in_channels - LATENT_CHANNELS - low_res.shape[1]
        sample = torch.cat([low_res, low_res.new_zeros(num, num_rest, height, width)], dim=1)
        last = torch.tensor([self.config.num_train_timesteps - 1], device=low_res.device).expand(num)
        embedding = self._embed(last, torch.full_like(last, UNKNOWN_LEVEL), None, low_res.dtype)
        features = [self._stem(sample, torch.tensor(True))]
        for block in self.blocks[: max(RATED_DEPTHS)]:
            features.append(block(features[-1], embedding))
        return torch.cat([_spread(features[depth]) for depth in RATED_DEPTHS], dim=1)

    def _embed(
        self, timestep: Tensor, level: Tensor | None, texture: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        """Return the embedding of what all pixels have in common, (N, 2 * width)."""
        level = torch.zeros_like(timestep) if level is None else level
        texture = torch.zeros_like(timestep) if texture is None else texture
        time = self.time_embedding(self.time_proj(timestep).to(dtype))
        rated = self.level_embedding(self.time_proj(level.clamp(min=0)).to(dtype))
        rated = torch.where((level < 0)[:, None], self.unknown_level.to(rated.dtype), rated)
        return F.silu(time + rated + self.texture_embedding(texture[:, None].to(dtype)))

    def _stem(self, sample: Tensor, is_last: Tensor) -> Tensor:
        """Return the first features, for which latents count as zero at the last timestep."""
        conv, num_conditions = self.conv_in, self.config.in_channels - LATENT_CHANNELS
        conditions = sample[:, -num_conditions:]
        if bool(is_last.all()):
            kernel = conv.weight[:, LATENT_CHANNELS:]
            return convolve(conditions, kernel, conv.bias)
        is_last = is_last.to(sample.device).view(-1, 1, 1, 1)
        latents = torch.where(is_last, 0, sample[:, :LATENT_CHANNELS])
        return convolve(torch.cat([latents, conditions], 1), conv.weight, conv.bias)


def _spread(features: Tensor) -> Tensor:
    """Return mean and standard deviation of feature maps, and how much their windows vary, (N, 4 * C)."""
    deviation, mean = torch.std_mean(features, dim=(2, 3), correction=0)
    height, width = (min(WINDOW, side) for side in features.shape[2:])
    windows = features.unfold(2, height, height).unfold(3, width, width)
    spread = windows.std(dim=(4, 5), correction=0).flatten(2)
    quantiles = spread.quantile(spread.new_tensor(WINDOW_QUANTILES), dim=2)
    return torch.cat([mean, deviation, *quantiles], dim=1)


class _ResidualBlock(nn.Module):
    def __init__(self, width: int, embedding_dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.film = _zeroed(nn.Linear(embedding_dim, 2 * width))
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.film(embedding).chunk(2, dim=1)
        # Out of training, features are not needed again: writing over them saves the time that memory takes.
        inside = F.silu(self._modulated(x, 1 + scale, shift), inplace=not torch.is_grad_enabled())
        return convolve(inside, self.conv2.weight, self.conv2.bias).add_(x)

    def _modulated(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Return the first convolution, scaled and shifted channel by channel."""
        conv = self.conv1
        if len(scale) > 1 or torch.is_grad_enabled():
            convolved = convolve(x, conv.weight, conv.bias)
            return torch.addcmul(shift[:, :, None, None], convolved, scale[:, :, None, None])
        # With one embedding for all pixels, the kernel is scaled in place of the features.
        assert conv.bias is not None
        kernel, bias = conv.weight * scale.view(-1, 1, 1, 1), torch.addcmul(shift[0], conv.bias, scale[0])
        return convolve(x, kernel, bias)


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
    """An encoder of what is remembered of the last frame as further input of a denoiser."""

    autoencoder: ResidualAutoencoder
    """Encodes the result relative to the frame that is being denoised."""
    num_channels: int = MEMORY_CHANNELS

    def __call__(self, moved: Tensor, hidden: Tensor, trust: Tensor, low_res: Tensor) -> Tensor:
        """Return the channels that describe the past to the denoiser.

        Args:
            moved: the last result, moved along to this frame, in [-1, 1], (N, 3, 4H, 4W).
            hidden: the last hidden state, moved along to this frame, (N, 64, H, W).
            trust: trust in that motion, in [0, 1], (N, 1, H, W).
            low_res: this frame as the denoiser sees it, in [-1, 1], (N, 3, H, W).

        Returns:
            Latents of the last result, weighted by the trust, the trust itself, and the hidden state,
            weighted by the trust, (N, 48 + 1 + 64, H, W).
        """
        return torch.cat([self.autoencoder.encode(moved, low_res) * trust, trust, hidden * trust], dim=1)

    def blank(self, low_res: Tensor) -> Tensor:
        """Return the channels for a frame without a past, all zero, (N, 48 + 1 + 64, H, W)."""
        return low_res.new_zeros(len(low_res), self.num_channels, *low_res.shape[2:])
