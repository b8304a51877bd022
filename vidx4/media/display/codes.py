"""What the codes of colours mean (ITU-T H.273), and which of them a video can't mean."""

from dataclasses import replace

from av.video.format import VideoFormat

from vidx4.appearance import COLOR_NAMES, UNSPECIFIED, ColorDescription

RGB_MATRIX = 0
_DERIVED_MATRIX = 12
_MATRICES = frozenset({RGB_MATRIX, 1, *range(4, 18)})
_PRIMARIES = frozenset({1, *range(4, 13)})
"""Codes but 22, EBU 3213-E, which no encoder of H.264 or HEVC writes."""
_TRANSFERS = frozenset({1, *range(4, 19)})
"""Codes that say something: 0 and 3 are reserved, as are all above."""
_BT709, _BT2020 = 1, 9


def name_of_matrix(code: int) -> str:
    """Return the name of a matrix, with its code."""
    name = COLOR_NAMES["matrix"].get(code)
    return f"{name} (H.273 code {code})" if name else f"H.273 code {code}"


def is_rgb(stored: VideoFormat) -> bool:
    """Return whether a pixel format holds red, green and blue: as they are, by a palette, or as XYZ."""
    return stored.is_rgb or stored.has_palette or stored.name.startswith("xyz")


def is_gray(stored: VideoFormat) -> bool:
    """Return whether a pixel format holds luma only, without or with alpha."""
    return not is_rgb(stored) and len(stored.components) < 3


def is_yuv(stored: VideoFormat) -> bool:
    """Return whether the colours of a pixel format depend on a matrix."""
    return not is_rgb(stored) and not is_gray(stored)


def understood(color: ColorDescription, pix_fmt: str) -> ColorDescription:
    """Return a colour description in which properties without a meaning are unspecified.

    Args:
        color: what a video states.
        pix_fmt: FFmpeg's name of the video's pixel format.
    """
    if pix_fmt.startswith("xyz"):  # the scaler makes BT.709 of it
        return replace(color, matrix=UNSPECIFIED, primaries=_BT709, transfer=_BT709)
    matrix = color.matrix if _has_meaning(color.matrix, pix_fmt) else UNSPECIFIED
    if matrix == _DERIVED_MATRIX and color.primaries in (_BT709, _BT2020):
        matrix = color.primaries  # these matrices were derived from their primaries, and have the same code
    return replace(
        color,
        matrix=matrix,
        primaries=color.primaries if color.primaries in _PRIMARIES else UNSPECIFIED,
        transfer=color.transfer if color.transfer in _TRANSFERS else UNSPECIFIED,
    )


def odd_codes(color: ColorDescription, pix_fmt: str) -> tuple[str, ...]:
    """Return the properties that a video states by codes without a meaning, such as `matrix 0`."""
    is_odd = {
        "matrix": not _has_meaning(color.matrix, pix_fmt) and is_yuv(VideoFormat(pix_fmt)),
        "primaries": color.primaries not in _PRIMARIES,
        "transfer": color.transfer not in _TRANSFERS,
    }
    codes = {name: getattr(color, name) for name, each in is_odd.items() if each}
    return tuple(f"{name} {code}" for name, code in codes.items() if code != UNSPECIFIED)


def _has_meaning(matrix: int, pix_fmt: str) -> bool:
    """Return whether a video can have a matrix; FFmpeg decodes real RGB to formats of RGB."""
    return matrix in _MATRICES and not (matrix == RGB_MATRIX and is_yuv(VideoFormat(pix_fmt)))
