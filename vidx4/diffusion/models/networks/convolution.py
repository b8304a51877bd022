"""3x3 convolutions, by the algorithm that takes less time on a CPU."""

from functools import cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

_NAME = "_nnpack_spatial_convolution"
"""PyTorch's name for the convolution of NNPACK, which comes with it."""


def convolve(features: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve feature maps with kernels of 3x3 pixels; beyond the border there are zeros.

    A CPU that has AVX2 and nothing wider takes Winograd's algorithm (Lavin and Gray 2016) in float32, out of
    training: on tiles of 6x6 pixels it needs a fifth of the multiplications, and half the time for large
    pictures. Results differ from plain sums by rounding, and those of a picture don't depend on the others.

    Args:
        features: (N, C, H, W).
        kernel: (D, C, 3, 3).
        bias: (D,).

    Returns:
        (N, D, H, W).
    """
    if torch.is_grad_enabled() or features.dtype != torch.float32 or not _has_winograd(features.device.type):
        return F.conv2d(features.contiguous(memory_format=torch.channels_last), kernel, bias, padding=1)
    nnpack, kernel = getattr(cast(Any, torch), _NAME), kernel.contiguous()
    # Only single pictures are done in the fast way.
    convolved = [nnpack(each, kernel, bias, [1, 1]) for each in features.contiguous().split(1)]
    return convolved[0] if len(convolved) == 1 else torch.cat(convolved)


@cache
def _has_winograd(device_type: str) -> bool:
    """Return whether NNPACK is there, which Windows lacks, and is known to be faster than plain sums.

    It makes no use of AVX-512: where there is that, plain sums take no more time (Intel Xeon, Ice Lake).
    """
    has_only_avx2 = device_type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2"
    # Asking whether it is available also prepares it.
    return has_only_avx2 and hasattr(torch, _NAME) and torch.backends.nnpack.is_available()
