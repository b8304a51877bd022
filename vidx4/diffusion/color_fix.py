"""Keep the source's colours by giving the result the source's low frequencies."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vidx4.frames import SCALE

RADII = (1, 2, 4)
"""Radii of the blurs, in low-resolution pixels."""
COLOR_REACH = sum(RADII) + 1
"""Distance in low-resolution pixels at which a change affects the low frequencies: the blurs' radii, and 1
for the interpolation."""


def keep_colors(upscaled: Tensor, enlarged: Tensor) -> Tensor:
    """Give a result the low frequencies of its source's bicubic enlargement.

    The result keeps its detail up to about 31 output pixels in size; tone and colour of anything larger are
    the source's. This removes colour shifts, steps between tiles and flickering brightness. It is the wavelet
    colour fix of StableSR (Wang et al. 2024).

    Args:
        upscaled: the result, in any range, float32, (N, 3, 4H, 4W).
        enlarged: the bicubic enlargement of the source, same shape and range.

    Returns:
        Pictures of the same shape and range, not clamped.
    """
    # The transform is linear: that of the difference takes half the time of two.
    return upscaled + low_frequencies(enlarged - upscaled)


def low_frequencies(x: Tensor) -> Tensor:
    """Return about what five levels of the à trous wavelet transform leave (Holschneider et al. 1989).

    Each level blurs by the taps 1/4, 1/2, 1/4 at twice the distance of the level before, with edges repeated.
    Here the mean over each low-resolution pixel replaces the first two levels, the other three blur these
    means, and the result is interpolated. It is smooth anyway, and takes a twentieth of the time.

    Args:
        x: pictures in any range, (N, C, 4H, 4W).
    """
    x = F.avg_pool2d(x, SCALE)
    for radius in RADII:
        padded = F.pad(x, (radius,) * 4, mode="replicate")
        x = _blur_doubled(_blur_doubled(padded, radius, dim=2), radius, dim=3) / 4
    return F.interpolate(x, scale_factor=SCALE, mode="bilinear")


def _blur_doubled(x: Tensor, radius: int, dim: int) -> Tensor:
    """Return twice the blur along a dimension, in one operation; the padding is used up."""
    size = x.shape[dim] - 2 * radius
    near, center, far = (x.narrow(dim, start, size) for start in (0, radius, 2 * radius))
    return torch.add(center, near + far, alpha=0.5)
