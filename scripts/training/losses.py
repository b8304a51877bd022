"""What texture is trained on: features of VGG-16, an adversary, and calm where the truth is flat."""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from scripts.evaluate.perceptual import Vgg16, imagenet

STAGE_WEIGHTS = 0.1, 0.1, 1.0, 1.0, 1.0
"""Weights of the stages of VGG-16, as Real-ESRGAN's of VGG-19 (Wang et al. 2021)."""
FLAT_DEVIATION = 3 / 127.5
"""Most standard deviation of the truth's high band where it is flat: 3 levels of 8 bits."""
BLUR_WINDOW, FLAT_WINDOW = 9, 17
"""Sides in pixels of what is subtracted to leave the high band, and of where its deviation is taken."""


class FeatureDistance(nn.Module):
    """The distance of features of VGG-16 before their activation (ESRGAN, Wang et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self._vgg16 = Vgg16()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distance of each pair of RGB pictures in [0, 1], (N, 3, H, W) -> (N,)."""
        stages = zip(STAGE_WEIGHTS, self._vgg16(imagenet(a)), self._vgg16(imagenet(b)), strict=True)
        distances = [weight * (x - y).abs().float().mean(dim=(1, 2, 3)) for weight, x, y in stages]
        return torch.stack(distances).sum(dim=0)


def excess_on_flat_areas(pictures: Tensor, truth: Tensor) -> Tensor:
    """Return how much more than the truth pictures vary where it is flat, which perceptual losses hardly see.

    Args:
        pictures: results, in [-1, 1], (N, 3, H, W).
        truth: the truth, likewise.

    Returns:
        The mean of the standard deviation in excess, within windows and channel by channel, (N,).
    """
    deviation, true_deviation = (_local_deviation(each) for each in (pictures, truth))
    excess = (true_deviation < FLAT_DEVIATION) * F.relu(deviation - true_deviation)
    return excess.mean(dim=(1, 2, 3))


def _local_deviation(pictures: Tensor) -> Tensor:
    """Return the standard deviation of the high band around each pixel."""
    band = pictures - _boxed(pictures, BLUR_WINDOW)
    return (_boxed(band.square(), FLAT_WINDOW) + 1e-8).sqrt()  # the slope of a root at 0 is infinite


def _boxed(pictures: Tensor, side: int) -> Tensor:
    for kernel in ((1, side), (side, 1)):
        padding = kernel[0] // 2, kernel[1] // 2
        pictures = F.avg_pool2d(pictures, kernel, stride=1, padding=padding, count_include_pad=False)
    return pictures


class PatchDiscriminator(nn.Module):
    """A discriminator of real pictures and results, patch by patch (Isola et al. 2017).

    It has spectral normalisation, and also sees the plain enlargement, so that it judges whether detail
    belongs there.
    """

    def __init__(self, widths: Sequence[int] = (6, 64, 128, 256)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for num_in, num_out in pairwise(widths):
            layers += [spectral_norm(nn.Conv2d(num_in, num_out, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
        layers += [spectral_norm(nn.Conv2d(widths[-1], widths[-1], 3, padding=1)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1)))

    def forward(self, pictures: Tensor, enlarged: Tensor) -> Tensor:
        """Return how real pictures look; both inputs are (N, 3, H, W) in [-1, 1] -> (N, 1, H / 8, W / 8)."""
        return cast(Tensor, self.layers(torch.cat([pictures, enlarged], dim=1)))


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return the relativistic average loss of a discriminator (Jolicoeur-Martineau 2018)."""
    return 0.5 * (F.softplus(fake.mean() - real) + F.softplus(fake - real.mean())).mean()


def generator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return the same loss with the roles exchanged, for the generator, patch by patch, (N, 1, h, w)."""
    return 0.5 * (F.softplus(real.mean() - fake) + F.softplus(real - fake.mean()))
