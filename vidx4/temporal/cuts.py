"""Cuts: where one shot ends and the next begins."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

import cv2
import numpy as np
from torch import Tensor

from vidx4.temporal.motion import fetch, flow_to, is_consistent, luma, to_levels

REACH = 4
"""Number of frames on either side of a cut that must differ from all those on the other side: a flash, a
damaged frame or a person passing close by is shorter."""

CUT, CUT_WITHIN_PALETTE = 0.12, 0.35
"""Least dissimilarity across a cut, and across a cut that hardly changes the palette: pans that are too fast
to follow reach 0.3, but keep their colours."""
OTHER_PALETTE = 0.25
"""Share of the palette that must change for the first of these."""

THUMBNAIL_PIXELS = 96 * 72
FLAT_VARIANCE = 36.0
"""Variance in 8-bit levels below which pictures count as alike: black frames and faint noise."""


def find_cuts(frames: Iterable[Tensor], past: Iterable[Tensor] = ()) -> Iterator[bool]:
    """Yield for each frame whether it is the first of a shot; without a past, the very first frame is.

    Frames are compared after compensating for motion and brightness, so fast pans and flashes are not cuts.
    Neither is a dissolve: motion is not trusted there, so nothing is carried over in any case.

    Args:
        frames: RGB, uint8 or uint16, (3, H, W); the answer for a frame needs the `REACH - 1` after it.
        past: the frames of the same shot just before them, of which the last `REACH` count.
    """
    last = deque(map(_Thumbnail.of, past), maxlen=REACH)
    for thumbnail, *ahead in _windows(map(_Thumbnail.of, frames), REACH):
        is_cut = all(_is_cut(before, next_) for before, next_ in product(reversed(last), (thumbnail, *ahead)))
        if is_cut:
            last.clear()
        last.append(thumbnail)
        yield is_cut


@dataclass(frozen=True)
class _Thumbnail:
    luma: np.ndarray
    """float32, 0 to 255, (h, w)."""
    palette: np.ndarray
    """Histogram of brightness and colour, sum 1."""

    @classmethod
    def of(cls, frame: Tensor) -> "_Thumbnail":
        levels = to_levels(frame)
        height, width = levels.shape[:2]
        scale = min(1.0, (THUMBNAIL_PIXELS / (height * width)) ** 0.5)
        size = max(1, round(scale * width)), max(1, round(scale * height))
        small = cv2.resize(levels, size, interpolation=cv2.INTER_AREA)
        return cls(luma(small), _palette(small))


def _palette(levels: np.ndarray) -> np.ndarray:
    yuv = cv2.cvtColor(levels.round().astype(np.uint8), cv2.COLOR_RGB2YUV)
    yuv[..., 1:] = yuv[..., 1:].clip(64, 191)  # few colours are stronger: finer bins for the others
    counts = cv2.calcHist([yuv], [0, 1, 2], None, [8, 16, 16], [0, 256, 64, 192, 64, 192])
    palette: np.ndarray = counts / counts.sum()
    return palette


def _is_cut(last: _Thumbnail, next_: _Thumbnail) -> bool:
    shared = np.minimum(last.palette, next_.palette).sum()
    return _dissimilarity(last.luma, next_.luma) > (CUT if 1 - shared > OTHER_PALETTE else CUT_WITHIN_PALETTE)


def _dissimilarity(last: np.ndarray, next_: np.ndarray) -> float:
    """Compare two pictures: about 0 within a shot, 0.2 to 1 across a cut.

    The share of the picture whose motion is inconsistent, times the structure that motion can't explain.
    """
    back, there = flow_to(next_, last), flow_to(last, next_)
    unexplained = 1 - _structure(fetch(last, back), next_)
    return float(unexplained * (1 - is_consistent(back, there).mean()))


def _structure(a: np.ndarray, b: np.ndarray) -> float:
    """Return the structural similarity of two pictures, whatever their brightness; 1 for equal ones.

    The structure term of SSIM (Wang et al. 2004), over the whole picture.
    """
    a, b = (picture - picture.mean() for picture in (a, b))
    flat = 2 * FLAT_VARIANCE
    return float((2 * (a * b).mean() + flat) / ((a * a).mean() + (b * b).mean() + flat))


Item = TypeVar("Item")


def _windows(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield each item with up to `size - 1` that follow it."""
    window: deque[Item] = deque()
    for item in items:
        window.append(item)
        if len(window) == size:
            yield list(window)
            window.popleft()
    while window:
        yield list(window)
        window.popleft()
