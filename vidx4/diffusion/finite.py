"""Make sure that results are finite, without a wait for the device of their own."""

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


def finite(pixels: Tensor, hidden: Tensor | None) -> Tensor:
    """Return of which frames all results are finite, bool, on the CPU, (N,).

    It can be read once anything has come to the CPU that the device computes later.

    Args:
        pixels: decoded pixels, (N, C, H, W). They are not finite if the latents that they come from are not.
        hidden: hidden states, (N, D, h, w); None if there are none.
    """
    # A sum is not finite if a term is not. It takes one pass, and no memory.
    total = pixels.sum((1, 2, 3), dtype=torch.float32)
    if hidden is not None:
        total = total + hidden.sum((1, 2, 3), dtype=torch.float32)
    return total.isfinite().to("cpu", non_blocking=True)


def check_finite(is_finite: Tensor, frame: Followed) -> None:
    """Make sure that the results of a frame are finite.

    Raises:
        FrameOverflowError: they are not.
    """
    if not bool(is_finite):
        raise FrameOverflowError(frame)
