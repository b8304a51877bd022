"""Colours: from how a video stores them to RGB, and back."""

from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
from av.filter import Graph
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

from vidx4.errors import SourceError
from vidx4.video import UNSPECIFIED, ColorDescription

_RGB_MATRIX, _BT709, _BT601_625, _BT601, _SMPTE_240M, _BT2020 = 0, 1, 5, 6, 7, 9
_SMPTE_170M_CURVE, _BT2020_CURVE = 6, 14
_PAL_LINES = 576
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020"}
"""FFmpeg's names of the matrices that its scaler computes; it takes any other for BT.601, in silence."""
_MATRIX_OF_PRIMARIES = {1: _BT709, 5: _BT601_625, 6: _BT601, 7: _SMPTE_240M, 9: _BT2020}
_PRIMARIES_OF_MATRIX = {1: 1, 4: 4, 5: 5, 6: 6, 7: 7, 9: 9}
_TRANSFER_OF_MATRIX = {1: 1, 4: 4, 5: _SMPTE_170M_CURVE, 6: _SMPTE_170M_CURVE, 7: 7, 9: _BT2020_CURVE}
"""Codes of ITU-T H.273."""
_LEFT = 1
_LOCATIONS = ("unspecified", "left", "center", "topleft", "top", "bottomleft", "bottom")
"""FFmpeg's names of `AVChromaLocation`."""
_SMOOTH = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
"""How chroma is resampled; FFmpeg's default is bilinear, and rounds down."""
_SHARP = "lanczos+accurate_rnd+full_chroma_int+full_chroma_inp"
"""How a picture is resized."""


def tag_colors(target: VideoFrame | VideoCodecContext, color: ColorDescription) -> None:
    """Write a colour description on a frame or a codec's context."""
    target.colorspace = color.matrix
    target.color_primaries = color.primaries
    target.color_trc = color.transfer
    target.color_range = ColorRange.JPEG if color.full_range else ColorRange.MPEG


def complete(color: ColorDescription, pix_fmt: str, height: int) -> ColorDescription:
    """Return a colour description in which nothing is left unsaid, by the rule that players follow.

    Args:
        color: what a video states; a matrix of RGB gives way to that of the video it will become.
        pix_fmt: FFmpeg's name of how its pixels are stored.
        height: of the picture: BT.601 holds up to 576 lines, BT.709 above.
    """
    stored = VideoFormat(pix_fmt)
    matrix = color.matrix
    if matrix == UNSPECIFIED or (matrix == _RGB_MATRIX and stored.is_rgb):
        matrix = _MATRIX_OF_PRIMARIES.get(color.primaries, _matrix_by_height(height))
    is_subsampled = stored.chroma_width(16) < 16
    return replace(
        color,
        matrix=matrix,
        primaries=_stated(color.primaries, _PRIMARIES_OF_MATRIX.get(matrix, UNSPECIFIED)),
        transfer=_stated(color.transfer, _TRANSFER_OF_MATRIX.get(matrix, UNSPECIFIED)),
        # MPEG-2 and all that came after it; MPEG-1 and JPEG state theirs.
        chroma_location=(color.chroma_location or _LEFT) if is_subsampled else 0,
    )


def _matrix_by_height(height: int) -> int:
    if height > _PAL_LINES:
        return _BT709
    return _BT601_625 if height == _PAL_LINES else _BT601


def _stated(code: int, usual: int) -> int:
    return usual if code == UNSPECIFIED else code


def check_matrix(color: ColorDescription, path: object) -> None:
    """Make sure that colours can be converted.

    Raises:
        SourceError: they are stored by a matrix that can't.
    """
    if color.matrix not in _MATRICES:
        raise SourceError(
            f"The colours of {path} are stored by a matrix (H.273: {color.matrix}) that is not known."
        )


class Converter:
    """Converts frames; what FFmpeg sets up for a kind of frame is kept for the next of its kind.

    Not to be shared by threads.
    """

    def __init__(self) -> None:
        self._graphs: dict[tuple[object, ...], Graph] = {}

    def to_rgb(self, frame: VideoFrame, color: ColorDescription, pix_fmt: str) -> VideoFrame:
        """Return a frame as RGB over the full range."""
        if frame.format.is_rgb or frame.format.name == "pal8":
            return frame.reformat(format=pix_fmt)
        location = color.chroma_location if _is_subsampled(frame.format) else 0
        tag_colors(frame, color)
        if color.full_range and frame.format.components[0].bits > 8:
            # FFmpeg takes the peak of 10 bits for 1023/1024 of that of 16.
            frame, color = _compress(frame), replace(color, full_range=False)
            tag_colors(frame, color)
        options = _input(color, location) | {"out_range": "pc"}
        return self._convert(frame, pix_fmt, (frame.width, frame.height), _SMOOTH, options)

    def to_yuv(
        self, rgb: VideoFrame, color: ColorDescription, pix_fmt: str, size: tuple[int, int] | None = None
    ) -> VideoFrame:
        """Return an RGB frame as planes of luma and chroma, tagged, or as RGB of another kind.

        To the full range FFmpeg rounds chroma down, half a level on average: that step is done here.

        Args:
            rgb: over the full range.
            color: how colours are to be stored.
            pix_fmt: FFmpeg's name of how pixels are to be stored.
            size: width and height to which the picture is resized, by Lanczos; None for its own.
        """
        size = size or (rgb.width, rgb.height)
        flags = _SMOOTH if size == (rgb.width, rgb.height) else _SHARP
        wanted = VideoFormat(pix_fmt)
        if wanted.is_rgb:
            frame = self._convert(rgb, pix_fmt, size, flags, {"out_range": "pc"})
            frame.color_primaries, frame.color_trc = color.primaries, color.transfer
            return frame
        options = _output(color, color.chroma_location if _is_subsampled(wanted) else 0)
        if not color.full_range:
            frame = self._convert(rgb, pix_fmt, size, flags, options)
        else:
            limited = self._convert(rgb, _planar(wanted, 16), size, flags, options)
            frame = _expand(limited, wanted)
        tag_colors(frame, color)
        return frame

    def _convert(
        self, frame: VideoFrame, pix_fmt: str, size: tuple[int, int], flags: str, options: dict[str, str]
    ) -> VideoFrame:
        key = (frame.format.name, frame.width, frame.height, pix_fmt, size, flags, *options.items())
        if key not in self._graphs:
            self._graphs[key] = _graph(frame, pix_fmt, size, options | {"flags": flags})
        graph = self._graphs[key]
        graph.vpush(frame)
        return graph.vpull()


def _graph(frame: VideoFrame, pix_fmt: str, size: tuple[int, int], options: dict[str, str]) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1)
    )
    scale = ":".join(f"{key}={value}" for key, value in options.items())
    nodes = (
        graph.add("scale", f"w={size[0]}:h={size[1]}:{scale}"),
        graph.add("format", pix_fmt),
        graph.add("buffersink"),
    )
    graph.link_nodes(source, *nodes).configure()
    return graph


def _input(color: ColorDescription, location: int) -> dict[str, str]:
    return {
        "in_color_matrix": _MATRICES[color.matrix],
        "in_range": "pc" if color.full_range else "tv",
        **({"in_chroma_loc": _LOCATIONS[location]} if location else {}),
    }


def _output(color: ColorDescription, location: int) -> dict[str, str]:
    return {
        "in_range": "pc",
        "out_color_matrix": _MATRICES[color.matrix],
        "out_range": "tv",
        **({"out_chroma_loc": _LOCATIONS[location]} if location else {}),
    }


@cache
def _name_is_subsampled(name: str) -> bool:
    return VideoFormat(name).chroma_width(16) < 16


def _is_subsampled(pix_fmt: VideoFormat) -> bool:
    return _name_is_subsampled(pix_fmt.name)


def _expand(limited: VideoFrame, pix_fmt: VideoFormat) -> VideoFrame:
    """Stretch 16-bit planes from the limited to the full range (ITU-T H.273, equations 27 to 32)."""
    bits = pix_fmt.components[0].bits
    frame = VideoFrame(limited.width, limited.height, _planar(pix_fmt, bits))
    for index, (plane, full) in enumerate(zip(limited.planes, frame.planes, strict=True)):
        scale, zero, full_zero = _range_of(index, bits)
        values = (_samples(plane, 16).astype(np.float32) - zero) / scale + full_zero
        _samples(full, bits)[:] = np.rint(values).clip(0, 2**bits - 1)
    return _in_full_range(frame, pix_fmt.name)


def _compress(full: VideoFrame) -> VideoFrame:
    """Undo `_expand`: return 16-bit planes over the limited range."""
    bits = full.format.components[0].bits
    full = _in_full_range(full, _planar(full.format, bits))
    frame = VideoFrame(full.width, full.height, _planar(full.format, 16))
    for index, (plane, limited) in enumerate(zip(full.planes, frame.planes, strict=True)):
        scale, zero, full_zero = _range_of(index, bits)
        values = (_samples(plane, bits).astype(np.float32) - full_zero) * scale + zero
        _samples(limited, 16)[:] = np.rint(values)
    frame.pts = full.pts
    return frame


def _range_of(plane: int, bits: int) -> tuple[float, int, int]:
    """Return how many steps of the limited range, in 16 bits, one of the full range is, and both zeros."""
    zero, extent, full_zero = (128, 224, 2 ** (bits - 1)) if plane else (16, 219, 0)
    return extent * 256 / (2**bits - 1), zero * 256, full_zero


def _planar(pix_fmt: VideoFormat, bits: int) -> str:
    """Return the name of a format of so many bits with a plane for each channel, no fewer samples in any."""
    across, down = 16 // pix_fmt.chroma_width(16), 16 // pix_fmt.chroma_height(16)
    name = {(2, 1): "yuv422p", (2, 2): "yuv420p"}.get((across, down), "yuv444p")
    return name if bits == 8 else f"{name}{bits}le"


def _in_full_range(frame: VideoFrame, pix_fmt: str) -> VideoFrame:
    """Store planes in another way without a change of their values."""
    if pix_fmt.replace("yuvj", "yuv") == frame.format.name.replace("yuvj", "yuv"):
        return frame
    same = ColorRange.JPEG
    return frame.reformat(format=pix_fmt, src_color_range=same, dst_color_range=same)


def _samples(plane: VideoPlane, bits: int) -> "NDArray[np.uint8] | NDArray[np.uint16]":
    """Return a view of a plane, (H, W)."""
    if bits == 8:
        return np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)[:, : plane.width]
    return np.frombuffer(memoryview(plane), np.uint16).reshape(plane.height, -1)[:, : plane.width]
