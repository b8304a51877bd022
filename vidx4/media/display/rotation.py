"""Rotate and mirror a picture for display: by the container's display matrix or, failing that, in the pixels.

A display matrix is nine numbers in FFmpeg's layout (a, b, u, c, d, v, x, y, w): a point (p, q) is shown at
(ap + cq + x, bp + dq + y).
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from vidx4.errors import OptionError
from vidx4.media.formats.containers import MATROSKA, format_of

Matrix = tuple[int, ...]

WITHOUT_MATRIX = frozenset({"image2", "mpegts"})
"""Muxers that store no display matrix."""
_ONE = 1 << 16
"""The number 1 in a display matrix (16.16 fixed point), and the length of a pixel."""
_ROUNDING = 4
"""By how much numbers change in a container that stores an angle in place of the matrix."""
_MAX = (1 << 31) - 1
"""Largest number in a display matrix."""


@dataclass(frozen=True)
class Turn:
    """A rearrangement of the rows and columns of a picture that makes it upright."""

    is_transposed: bool = False
    flips_rows: bool = False
    """Whether the picture is turned upside down, after transposing."""
    flips_columns: bool = False
    """Whether the picture is mirrored from left to right, after transposing."""

    @classmethod
    def of(cls, matrix: Matrix | None) -> "Turn":
        """Return the turn that a display matrix stands for.

        Raises:
            OptionError: the matrix is not a multiple of a quarter turn, or it scales the picture.
        """
        if matrix is None:
            return cls()
        a, b, c, d = (matrix[index] for index in (0, 1, 3, 4))
        straight, across = (abs(a), abs(d)), (abs(b), abs(c))
        if max(straight) <= _ROUNDING and min(across) >= _ONE - _ROUNDING and max(across) <= _ONE + _ROUNDING:
            return cls(True, b < 0, c < 0)
        if (
            max(across) <= _ROUNDING
            and min(straight) >= _ONE - _ROUNDING
            and max(straight) <= _ONE + _ROUNDING
        ):
            return cls(False, d < 0, a < 0)
        raise OptionError("This container can't store the video's rotation angle or scaling: use .mp4.")

    def __call__(self, pixels: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return a picture turned, (C, H, W) to (C, H, W) or, transposed, (C, W, H)."""
        turned = pixels.transpose(0, 2, 1) if self.is_transposed else pixels
        return turned[:, :: -1 if self.flips_rows else 1, :: -1 if self.flips_columns else 1]


def needed_turn(matrix: Matrix | None, suffix: str) -> Turn:
    """Return how to turn the pixels because the container can't make players do it.

    Raises:
        OptionError: neither the container nor a turn of the pixels can do what the matrix asks for.
    """
    if format_of(suffix) in WITHOUT_MATRIX:
        return Turn.of(matrix)
    if format_of(suffix) in MATROSKA:
        Turn.of(matrix)  # raises: Matroska would round other angles and lose scales
    return Turn()


def output_matrix(matrix: Matrix | None, suffix: str, across: Fraction, down: Fraction) -> Matrix | None:
    """Return the display matrix to store with an enlarged picture; None for none.

    Args:
        matrix: the display matrix of the source.
        suffix: the output's suffix, which stands for its container.
        across: by how much the stored picture grows horizontally.
        down: by how much it grows vertically.
    """
    if matrix is None or format_of(suffix) in WITHOUT_MATRIX:
        return None
    a, b, u, c, d, v, x, y, w = matrix
    if format_of(suffix) in MATROSKA:
        return (a, b, u, c, d, v, 0, 0, w)  # which stores no translation
    # The translation, by which MP4 moves the turned picture back to where it was, is in pixels as displayed:
    # after a quarter turn, its x runs along the stored picture's height.
    if abs(b) > abs(a):
        across, down = down, across
    moved = round(x * across), round(y * down)
    x, y = moved if max(map(abs, moved)) <= _MAX else (0, 0)
    return (a, b, u, c, d, v, x, y, w)


def is_same_matrix(expected: Matrix | None, actual: Matrix | None) -> bool:
    """Return whether two display matrices are equal but for rounding, or both missing."""
    if expected is None or actual is None:
        return expected is actual
    return all(abs(a - b) <= _ROUNDING for a, b in zip(expected, actual, strict=True))
