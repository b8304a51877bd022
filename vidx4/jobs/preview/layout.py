"""Before and after in one picture."""

from functools import cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vidx4.frames import FrameBatch
from vidx4.jobs.preview.options import Layout

LINE_WIDTH = 4
"""Of the line between the halves, in output pixels."""
MARGIN = 8


def compose(layout: Layout, before: FrameBatch, after: FrameBatch, ticks_per_second: float) -> FrameBatch:
    """Put before and after together, each with its name in a corner.

    Args:
        layout: how.
        before: (N, 3, H, W).
        after: the same frames, of the same size and type.
        ticks_per_second: of their pts.

    Returns:
        Frames at the same pts, (N, 3, H, W), or twice as wide where they stand side by side.
    """
    left, right = (
        _labelled(before.data, "bicubic", at_right=False),
        _labelled(after.data, "vidx4", at_right=True),
    )
    match layout:
        case Layout.SPLIT:
            data = _split(left, right)
        case Layout.SIDE:
            data = torch.cat([left, right], dim=3)
        case Layout.ALTERNATE:
            turns = [int(pts / ticks_per_second) % 2 for pts in after.pts]
            data = torch.stack([(left, right)[turn][i] for i, turn in enumerate(turns)])
    return FrameBatch(data, after.pts)


def _split(left: Tensor, right: Tensor) -> Tensor:
    data = right.clone()
    middle = data.shape[3] // 2
    data[..., :middle] = left[..., :middle]
    data[..., middle - LINE_WIDTH // 2 : middle + LINE_WIDTH // 2] = torch.iinfo(data.dtype).max
    return data


def _labelled(frames: Tensor, text: str, *, at_right: bool) -> Tensor:
    """Write a text into a lower corner; pictures too small for it stay as they are."""
    label = _label(text, max(12, frames.shape[2] // 40))
    height, width = (side + 2 * MARGIN for side in label.shape)
    if height > frames.shape[2] // 4 or width > frames.shape[3] // 2:
        return frames
    frames = frames.clone()
    left = frames.shape[3] - width + MARGIN if at_right else MARGIN
    place = frames[..., frames.shape[2] - height + MARGIN : -MARGIN, left : left + label.shape[1]]
    place.copy_((label * torch.iinfo(frames.dtype).max).to(frames.dtype).expand_as(place))
    return frames


@cache
def _label(text: str, size: int) -> Tensor:
    """Return white letters on black, 0 to 1, (H, W)."""
    font = ImageFont.load_default(size)
    left, top, right, bottom = font.getbbox(text)
    picture = Image.new("L", (int(right - left) + size, int(bottom - top) + size // 2))
    ImageDraw.Draw(picture).text((size / 2 - left, size / 4 - top), text, fill=255, font=font)
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)
