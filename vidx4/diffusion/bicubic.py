"""Bicubic enlargement, which every result starts from or is compared with."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vidx4.frames import SCALE, FrameBatch


def enlarge(low_res: Tensor) -> Tensor:
    """Enlarge pictures four times by bicubic interpolation.

    The kernel is that of Keys (1981) with a = -1/2, as in Pillow's BICUBIC and PyTorch's antialiased
    interpolation. PyTorch's plain bicubic has a = -3/4, which overshoots more at edges.

    Args:
        low_res: floating point pictures in any range, (N, C, H, W).

    Returns:
        Pictures in the same range, with a slight overshoot at edges, (N, C, 4H, 4W).
    """
    # At a whole-number scale up, `antialias` changes nothing but the kernel.
    return F.interpolate(low_res, scale_factor=SCALE, mode="bicubic", antialias=True)


def enlarge_frames(batch: FrameBatch) -> FrameBatch:
    """Enlarge frames four times by bicubic interpolation, with the same type and pts."""
    highest = torch.iinfo(batch.data.dtype).max
    data = enlarge(batch.data.float()).round().clamp(0, highest).to(batch.data.dtype)
    return FrameBatch(data, batch.pts)
