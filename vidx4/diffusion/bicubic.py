"""The plain enlargement that every result starts from or is compared with."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vidx4.frames import SCALE, FrameBatch


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


def enlarge_frames(batch: FrameBatch) -> FrameBatch:
    """Enlarge frames four times by bicubic interpolation; same type, same pts."""
    highest = torch.iinfo(batch.data.dtype).max
    data = enlarge(batch.data.float()).round().clamp(0, highest).to(batch.data.dtype)
    return FrameBatch(data, batch.pts)
