"""The plain enlargement that every result starts from or is compared with."""

import torch.nn.functional as F
from torch import Tensor

SCALE = 4
"""Output pixels per low-resolution pixel, along each side, of every model here."""


def enlarge(low_res: Tensor) -> Tensor:
    """Enlarge pictures four times by bicubic interpolation.

    The kernel is Keys' with a = -1/2 (PyTorch's antialiased one, the same as Pillow's BICUBIC), not the
    a = -3/4 of PyTorch's plain bicubic, which overshoots more at edges.

    Args:
        low_res: floating point pictures in any range, (N, C, H, W).

    Returns:
        Pictures in the same range, with slight over- and undershoot at edges, (N, C, 4H, 4W).
    """
    return F.interpolate(low_res, scale_factor=SCALE, mode="bicubic", antialias=True)
