"""Branches beside convolutions that help training, and are merged into the convolutions for use.

As in SPAN (Wan et al. 2024), beside each 3x3 convolution stand the identity and a 1x1 - 3x3 - 1x1 branch
with more channels inside. All are linear and none has a bias, so their sum is one 3x3 convolution, up to the
border of the picture. It is merged in every step of training before it is applied, so branches cost nothing
per pixel.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from vidx4.diffusion.models.networks.compact_denoiser import CompactDenoiser


class Branches(nn.Module):
    """The weights of a branch and of the identity, as a parametrization of a convolution's kernel.

    At first they add nothing, so a trained network may be given branches.

    Args:
        channels: channels of the convolution, which has as many outputs.
        width: channels inside of the branch.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.expand = nn.Parameter(torch.randn(width, channels) / math.sqrt(channels))
        self.middle = nn.Parameter(torch.randn(width, width, 3, 3) / (3 * math.sqrt(width)))
        self.reduce = nn.Parameter(torch.zeros(channels, width))
        self.identity = nn.Parameter(torch.zeros(channels))

    def forward(self, kernel: Tensor) -> Tensor:
        """Return the merged kernel, (channels, channels, 3, 3)."""
        with torch.autocast(kernel.device.type, enabled=False):
            wide = torch.einsum("mnyx,ni->miyx", self.middle, self.expand)
            merged = kernel + torch.einsum("om,miyx->oiyx", self.reduce, wide)
            merged[:, :, 1, 1] += torch.diag(self.identity)
            return merged.contiguous(memory_format=torch.channels_last)


def add_branches(model: CompactDenoiser, width: int) -> None:
    """Add branches to the convolutions of all blocks."""
    for module in model.blocks.modules():
        if isinstance(module, nn.Conv2d):
            parametrize.register_parametrization(module, "weight", Branches(module.in_channels, width))


def merged_parameters(model: nn.Module, merged: nn.Module) -> list[Tensor]:
    """Return the values for the parameters of a network without branches, in its order."""
    parameters = []
    for name, _ in merged.named_parameters():
        module, _, leaf = name.rpartition(".")
        parameters.append(getattr(model.get_submodule(module), leaf))
    return parameters
