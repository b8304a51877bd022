"""Keep the source's colours: its low frequencies replace those of the result."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vidx4.frames import SCALE

RADII = (1, 2, 4)
"""Of the blurs, in low-resolution pixels."""
COLOR_REACH = sum(RADII) + 1
"""How many low-resolution pixels away a result's low frequencies are changed; 1 for the interpolation."""


def keep_colors(upscaled: Tensor, enlarged: Tensor) -> Tensor:
    """Give a result the low frequencies of the plain enlargement of its source.

    The result keeps its detail up to about 31 output pixels; tone and colour above that are the source's,
    which removes shifts, tile steps and flicker of brightness. The wavelet colour fix of StableSR (Wang et
    al. 2024), in one decomposition of the difference instead of one of each picture.

    Args:
        upscaled: (N, 3, 4H, 4W), float32.
        enlarged: the bicubic enlargement of the source, same shape and range.

    Returns:
        Same shape and range, not clamped.
    """
    return upscaled + low_frequencies(enlarged - upscaled)


def low_frequencies(x: Tensor) -> Tensor:
    """Return what five levels of the a-trous wavelet transform leave (Holschneider et al. 1989), nearly.

    Each level blurs by the taps 1/4, 1/2, 1/4 at twice the distance of the one before, edges repeated. The
    first two are replaced by the mean over what is one low-resolution pixel, the others work on those, and
    the result is interpolated: what is left is smooth, and it takes a twentieth of the time.
    """
    x = F.avg_pool2d(x, SCALE)
    for radius in RADII:
        padded = F.pad(x, (radius,) * 4, mode="replicate")
        x = _twice_blurred(_twice_blurred(padded, radius, dim=2), radius, dim=3) / 4
    return F.interpolate(x, scale_factor=SCALE, mode="bilinear")


def _twice_blurred(x: Tensor, radius: int, dim: int) -> Tensor:
    size = x.shape[dim] - 2 * radius
    near, center, far = (x.narrow(dim, start, size) for start in (0, radius, 2 * radius))
    return torch.add(center, near + far, alpha=0.5)
