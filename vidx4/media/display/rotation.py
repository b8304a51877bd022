"""How a picture is turned and mirrored for display: told by the container, or done where that can't tell.

A display matrix is nine numbers in FFmpeg's layout: (x, y) goes to (ax + cy + tx, bx + dy + ty).
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from vidx4.errors import OptionError
from vidx4.media.formats.containers import MATROSKA, format_of

Matrix = tuple[int, ...]

PLAIN = frozenset({"image2", "mpegts"})
"""Muxers that tell nothing of how a picture is shown."""
_ONE = 1 << 16
"""1 in a display matrix, and a pixel."""
_ROUNDING = 4
"""By how much numbers change where a container tells an angle instead."""
_MAX = (1 << 31) - 1


@dataclass(frozen=True)
class Turn:
    """How the rows and columns of a picture are changed so that it stands upright."""

    is_transposed: bool = False
    flips_rows: bool = False
    """Whether it is turned upside down, after transposing."""
    flips_columns: bool = False

    @classmethod
    def of(cls, matrix: Matrix | None) -> "Turn":
        """Return what a display matrix asks for.

        Raises:
            OptionError: it is no multiple of a quarter turn.
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
        raise OptionError(
            "The picture is to be shown turned by an odd angle or scaled, which this container can't tell: "
            "use .mp4."
        )

    def __call__(self, pixels: NDArray[np.generic]) -> NDArray[np.generic]:
        """Turn a picture, (C, H, W)."""
        turned = pixels.transpose(0, 2, 1) if self.is_transposed else pixels
        return turned[:, :: -1 if self.flips_rows else 1, :: -1 if self.flips_columns else 1]


def needed_turn(matrix: Matrix | None, suffix: str) -> Turn:
    """Return what has to be done to frames, since a container can't tell players to.

    Raises:
        OptionError: it can neither be told nor done.
    """
    if format_of(suffix) in PLAIN:
        return Turn.of(matrix)
    if format_of(suffix) in MATROSKA:
        Turn.of(matrix)  # other angles would be rounded, and scales lost
    return Turn()


def carried_matrix(matrix: Matrix | None, suffix: str, across: Fraction, down: Fraction) -> Matrix | None:
    """Return what a container tells of a picture that is so many times larger; None for nothing.

    The last row, by which MP4 moves the turned picture back to where it was, grows with it; Matroska has
    none.
    """
    if matrix is None or format_of(suffix) in PLAIN:
        return None
    a, b, u, c, d, v, x, y, w = matrix
    if format_of(suffix) in MATROSKA:
        return (a, b, u, c, d, v, 0, 0, w)
    if abs(b) > abs(a):
        across, down = down, across
    moved = round(x * across), round(y * down)
    x, y = moved if max(map(abs, moved)) <= _MAX else (0, 0)
    return (a, b, u, c, d, v, x, y, w)


def is_same_turn(given: Matrix | None, found: Matrix | None) -> bool:
    """Return whether two matrices are equal but for rounding."""
    if given is None or found is None:
        return given is found
    return all(abs(a - b) <= _ROUNDING for a, b in zip(given, found, strict=True))
