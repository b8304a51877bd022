"""Make sure that results are finite, with one wait for the device."""

import torch
from torch import Tensor

from vidx4.temporal.follow import Followed


class FrameOverflowError(ArithmeticError):
    """A result holds infinite numbers or none at all.

    Args:
        frame: the frame that it is the result of.
    """

    def __init__(self, frame: Followed) -> None:
        super().__init__("A result is not finite.")
        self.frame = frame


class Results:
    """Whether the results of frames are finite, on their device until all are there."""

    def __init__(self) -> None:
        self._frames: list[Followed] = []
        self._totals: list[Tensor] = []

    def clear(self) -> None:
        """Forget all results."""
        self._frames.clear()
        self._totals.clear()

    def add(self, frame: Followed, pixels: Tensor, hidden: Tensor | None) -> None:
        """Add results of a frame.

        Args:
            frame: the frame.
            pixels: decoded pixels, floating point. They are not finite if the latents that they come from are
                not.
            hidden: hidden states; None if there are none.
        """
        # A sum is not finite if a term is not. It takes one pass, and no memory.
        total = pixels.sum(dtype=torch.float32)
        self._frames.append(frame)
        self._totals.append(total if hidden is None else total + hidden.sum(dtype=torch.float32))

    def check(self) -> None:
        """Make sure that all results are finite; waits for the device.

        Raises:
            FrameOverflowError: those of a frame are not.
        """
        if not self._totals:
            return
        are_finite = torch.stack(self._totals).isfinite()
        if not bool(are_finite.all()):
            raise FrameOverflowError(self._frames[int(are_finite.int().argmin())])
