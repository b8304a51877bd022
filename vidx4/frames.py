"""Pixels: single frames, batches of them, and rectangles within them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SCALE = 4
"""Output pixels per low-resolution pixel, along each side, of every model here."""


def pixel_dtype(bit_depth: int) -> torch.dtype:
    """Return the type that holds colours losslessly: uint8, or uint16 for more than 8 bits."""
    return torch.uint8 if bit_depth <= 8 else torch.uint16


@dataclass(frozen=True)
class Box:
    """A rectangle of a frame, `[top, bottom)` by `[left, right)` in pixels."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.right - self.left

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """Indices of the rectangle in the last two dimensions of a frame."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def scaled(self, factor: int) -> "Box":
        """Return the same rectangle of a frame that is `factor` times larger."""
        return Box(*(factor * side for side in (self.top, self.bottom, self.left, self.right)))

    def moved(self, rows: int, columns: int) -> "Box":
        """Return the rectangle, moved down and to the right."""
        return Box(self.top + rows, self.bottom + rows, self.left + columns, self.right + columns)

    def grown(self, margin: int, height: int, width: int) -> "Box":
        """Return the rectangle with a margin on all sides, within a frame of the given size."""
        grown = Box(self.top - margin, self.bottom + margin, self.left - margin, self.right + margin)
        return grown.clipped(Box(0, height, 0, width))

    def clipped(self, other: "Box") -> "Box":
        """Return the intersection with another rectangle."""
        return Box(
            max(self.top, other.top),
            min(self.bottom, other.bottom),
            max(self.left, other.left),
            min(self.right, other.right),
        )

    @classmethod
    def whole(cls, frame: Tensor) -> "Box":
        """Return the box that covers a whole frame, (..., H, W)."""
        height, width = frame.shape[-2:]
        return cls(0, height, 0, width)


@dataclass(frozen=True)
class Frame:
    """One picture of a video, and when it is shown."""

    data: Tensor
    """RGB over the full range of its type, uint8 or uint16, on the CPU, (3, H, W)."""
    pts: int
    """Presentation time in the source's time base."""


@dataclass(frozen=True)
class FrameBatch:
    """Consecutive frames that are computed together."""

    data: Tensor
    """RGB over the full range of its type, uint8 or uint16, on the CPU, (N, 3, H, W)."""
    pts: tuple[int, ...]
    """Presentation time of each frame, ascending."""
    warm_up: tuple[Frame, ...] = ()
    """If the first frame starts a shot: frames after it, last first. A model that remembers looks at them
    before it begins; they are not part of the result."""

    def __post_init__(self) -> None:
        if self.data.ndim != 4 or self.data.shape[1] != 3:
            raise ValueError(f"data must be (N, 3, H, W), got {tuple(self.data.shape)}")
        if not self.data.numel():
            raise ValueError(f"data must hold a frame or more, got {tuple(self.data.shape)}")
        if self.data.dtype not in (torch.uint8, torch.uint16):
            raise ValueError(f"data must be uint8 or uint16, got {self.data.dtype}")
        if self.data.device.type != "cpu":
            raise ValueError(f"data must be on the CPU, got {self.data.device}")
        if len(self.pts) != len(self.data):
            raise ValueError(f"{len(self.data)} frames but {len(self.pts)} pts")
        if any(b <= a for a, b in zip(self.pts, self.pts[1:], strict=False)):
            raise ValueError(f"pts must ascend, got {self.pts}")
        kind = self.data.shape[1:], self.data.dtype
        if any((frame.data.shape, frame.data.dtype) != kind for frame in self.warm_up):
            raise ValueError("the frames of the warm-up must have the size and the type of the others")

    @classmethod
    def of(cls, frames: Sequence[Frame], warm_up: Sequence[Frame] = ()) -> "FrameBatch":
        """Stack frames, one or more."""
        if not frames:
            raise ValueError("a batch needs a frame or more")
        data, pts = torch.stack([frame.data for frame in frames]), tuple(frame.pts for frame in frames)
        return cls(data, pts, tuple(warm_up))

    def __len__(self) -> int:
        return len(self.pts)
