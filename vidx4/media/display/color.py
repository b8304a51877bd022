"""Convert colours from the way a video stores them to RGB, and back."""

from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
from av.error import FFmpegError
from av.filter import Graph
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

from vidx4.appearance import UNSPECIFIED, ColorDescription
from vidx4.errors import SourceError
from vidx4.media.display.codes import is_gray, is_yuv, name_of_matrix
from vidx4.media.display.gray import gray_to_rgb

_BT709, _BT601_625, _BT601, _SMPTE_240M, _BT2020 = 1, 5, 6, 7, 9
"""Codes of MatrixCoefficients (ITU-T H.273)."""
_SMPTE_170M_CURVE, _BT2020_CURVE = 6, 14
"""Codes of TransferCharacteristics (ITU-T H.273)."""
_PAL_LINES = 576
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 9: "bt2020"}
"""FFmpeg's names of the matrices that its scaler implements."""
_MATRIX_OF_PRIMARIES = {1: _BT709, 5: _BT601_625, 6: _BT601, 7: _SMPTE_240M, 9: _BT2020}
_PRIMARIES_OF_MATRIX = {1: 1, 4: 4, 5: 5, 6: 6, 7: 7, 9: 9}
_TRANSFER_OF_MATRIX = {1: 1, 4: 4, 5: _SMPTE_170M_CURVE, 6: _SMPTE_170M_CURVE, 7: 7, 9: _BT2020_CURVE}
"""What usually goes together, as codes of ITU-T H.273."""
_LEFT = 1
_LOCATIONS = ("unspecified", "left", "center", "topleft", "top", "bottomleft", "bottom")
"""FFmpeg's names of the values of `AVChromaLocation`."""
_SMOOTH = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
"""Scaler flags for resampling chroma; FFmpeg's default is bilinear and rounds down."""
_SHARP = "lanczos+accurate_rnd+full_chroma_int+full_chroma_inp"
"""Scaler flags for resizing a picture."""
_BYTE = 8
_TRIAL_SIDE = 16
"""Width and height of the frame by which a conversion is tried out."""


def tag_colors(target: VideoFrame | VideoCodecContext, color: ColorDescription) -> None:
    """Set the colour description of a frame or of a codec's context."""
    target.colorspace = color.matrix
    target.color_primaries = color.primaries
    target.color_trc = color.transfer
    target.color_range = ColorRange.JPEG if color.full_range else ColorRange.MPEG


def tag_pixels(frame: VideoFrame, color: ColorDescription) -> None:
    """Tag a frame with what its conversion depends on, and with nothing that FFmpeg may refuse to convert."""
    tag_colors(frame, replace(color, primaries=UNSPECIFIED, transfer=UNSPECIFIED))


def complete(color: ColorDescription, pix_fmt: str, height: int) -> ColorDescription:
    """Return a colour description with the missing properties filled in as players do.

    Args:
        color: what a video states; for RGB and grey, a matrix that can't be used is replaced by that of the
            YUV video it will become.
        pix_fmt: FFmpeg's name of the video's pixel format.
        height: lines of the picture: up to 576 mean BT.601, more mean BT.709.
    """
    stored = VideoFormat(pix_fmt)
    matrix = color.matrix
    if matrix == UNSPECIFIED or (matrix not in _MATRICES and not is_yuv(stored)):
        matrix = _MATRIX_OF_PRIMARIES.get(color.primaries, _matrix_by_height(height))
    is_subsampled = stored.chroma_width(16) < 16
    return replace(
        color,
        matrix=matrix,
        primaries=_or_usual(color.primaries, _PRIMARIES_OF_MATRIX.get(matrix, UNSPECIFIED)),
        transfer=_or_usual(color.transfer, _TRANSFER_OF_MATRIX.get(matrix, UNSPECIFIED)),
        # Left is the default of MPEG-2 and every later codec; for MPEG-1 and JPEG the decoder states center.
        chroma_location=(color.chroma_location or _LEFT) if is_subsampled else 0,
    )


def _matrix_by_height(height: int) -> int:
    if height > _PAL_LINES:
        return _BT709
    return _BT601_625 if height == _PAL_LINES else _BT601


def _or_usual(code: int, usual: int) -> int:
    return usual if code == UNSPECIFIED else code


def check_colors(color: ColorDescription, pix_fmt: str, path: object) -> None:
    """Check that the pixels of a video can be converted to RGB.

    Args:
        color: the video's colour description, complete.
        pix_fmt: FFmpeg's name of the video's pixel format.
        path: the path that errors name.

    Raises:
        SourceError: the matrix, or the pixel format, is not supported.
    """
    if color.matrix not in _MATRICES:
        raise SourceError(
            f"The colour matrix of {path}, {name_of_matrix(color.matrix)}, is not supported: convert the "
            "video to another first, such as BT.709."
        )
    try:
        Converter().to_rgb(VideoFrame(_TRIAL_SIDE, _TRIAL_SIDE, pix_fmt), color, "rgb48le")
    except (FFmpegError, ValueError) as error:
        raise SourceError(f"The pixel format of {path}, {pix_fmt}, is not supported.") from error


class Converter:
    """A converter of frames between RGB and YUV.

    It keeps FFmpeg's filter graphs for the next frame of the same format, size and colours. Threads must not
    share it.
    """

    def __init__(self) -> None:
        self._graphs: dict[tuple[object, ...], Graph] = {}

    def to_rgb(self, frame: VideoFrame, color: ColorDescription, pix_fmt: str) -> VideoFrame:
        """Return a frame as RGB over the full range."""
        if frame.format.is_rgb or frame.format.has_palette:
            return _to_rgb_depth(frame, pix_fmt)
        if is_gray(frame.format):
            return gray_to_rgb(frame, pix_fmt)
        location = color.chroma_location if _is_subsampled(frame.format) else 0
        tag_pixels(frame, color)
        if color.full_range and frame.format.components[0].bits > 8:
            # FFmpeg widens full-range samples by a shift, so that the peak of 10 bits becomes 1023/1024 of
            # that of 16.
            frame, color = _compress(frame), replace(color, full_range=False)
            tag_pixels(frame, color)
        options = _input_options(color, location) | {"out_range": "pc"}
        return self._convert(frame, pix_fmt, (frame.width, frame.height), _SMOOTH, options)

    def to_yuv(
        self, rgb: VideoFrame, color: ColorDescription, pix_fmt: str, size: tuple[int, int] | None = None
    ) -> VideoFrame:
        """Return an RGB frame as tagged YUV, or as RGB in another pixel format.

        Args:
            rgb: an RGB frame over the full range.
            color: the colour description of the result.
            pix_fmt: FFmpeg's name of the result's pixel format.
            size: width and height to resize to, by Lanczos; None for no resizing.
        """
        size = size or (rgb.width, rgb.height)
        flags = _SMOOTH if size == (rgb.width, rgb.height) else _SHARP
        wanted = VideoFormat(pix_fmt)
        if wanted.is_rgb:
            frame = self._convert(rgb, pix_fmt, size, flags, {"out_range": "pc"})
            frame.color_primaries, frame.color_trc = color.primaries, color.transfer
            return frame
        options = _output_options(color, color.chroma_location if _is_subsampled(wanted) else 0)
        if not color.full_range:
            frame = self._convert(rgb, pix_fmt, size, flags, options)
        else:
            # FFmpeg's own step to the full range rounds chroma down, by half a level on average.
            limited = self._convert(rgb, _planar(wanted, 16), size, flags, options)
            frame = _expand(limited, wanted)
        tag_colors(frame, color)
        return frame

    def _convert(
        self, frame: VideoFrame, pix_fmt: str, size: tuple[int, int], flags: str, options: dict[str, str]
    ) -> VideoFrame:
        key = (frame.format.name, frame.width, frame.height, pix_fmt, size, flags, *options.items())
        if key not in self._graphs:
            self._graphs[key] = _make_graph(frame, pix_fmt, size, options | {"flags": flags})
        graph = self._graphs[key]
        graph.vpush(frame)
        return graph.vpull()


def _to_rgb_depth(frame: VideoFrame, pix_fmt: str) -> VideoFrame:
    """Return a frame of RGB, or of a palette, in `rgb24` or `rgb48le`.

    From 8 to 16 bits, FFmpeg is off by up to a level.
    """
    if pix_fmt != "rgb48le" or max(component.bits for component in frame.format.components) > _BYTE:
        return frame.reformat(format=pix_fmt)
    pixels = frame.reformat(format="rgb24").to_ndarray().astype(np.uint16)
    return VideoFrame.from_ndarray(pixels * np.uint16(257), format=pix_fmt)


def _make_graph(frame: VideoFrame, pix_fmt: str, size: tuple[int, int], options: dict[str, str]) -> Graph:
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


def _input_options(color: ColorDescription, location: int) -> dict[str, str]:
    return {
        "in_color_matrix": _MATRICES[color.matrix],
        "in_range": "pc" if color.full_range else "tv",
        **({"in_chroma_loc": _LOCATIONS[location]} if location else {}),
    }


def _output_options(color: ColorDescription, location: int) -> dict[str, str]:
    """Return the scaler's options for a result in the limited range."""
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
    """Return whether chroma has fewer columns than luma; cached by the format's name."""
    return _name_is_subsampled(pix_fmt.name)


def _expand(limited: VideoFrame, pix_fmt: VideoFormat) -> VideoFrame:
    """Stretch 16-bit planes from the limited to the full range (ITU-T H.273, equations 27 to 32)."""
    bits = pix_fmt.components[0].bits
    frame = VideoFrame(limited.width, limited.height, _planar(pix_fmt, bits))
    for index, (plane, full) in enumerate(zip(limited.planes, frame.planes, strict=True)):
        scale, zero, full_zero = _range_of(index, bits)
        values = (_samples(plane, 16).astype(np.float32) - zero) / scale + full_zero
        _samples(full, bits)[:] = np.rint(values).clip(0, 2**bits - 1)
    return _repack(frame, pix_fmt.name)


def _compress(full: VideoFrame) -> VideoFrame:
    """Return 16-bit planes over the limited range, the inverse of `_expand`."""
    bits = full.format.components[0].bits
    full = _repack(full, _planar(full.format, bits))
    frame = VideoFrame(full.width, full.height, _planar(full.format, 16))
    for index, (plane, limited) in enumerate(zip(full.planes, frame.planes, strict=True)):
        scale, zero, full_zero = _range_of(index, bits)
        values = (_samples(plane, bits).astype(np.float32) - full_zero) * scale + zero
        _samples(limited, 16)[:] = np.rint(values)
    frame.pts = full.pts
    return frame


def _range_of(plane: int, bits: int) -> tuple[float, int, int]:
    """Return the 16-bit steps of the limited range per step of the full range, and the zeros of both ranges.

    Args:
        plane: 0 for luma, others for chroma.
        bits: bits per sample of the full range.
    """
    zero, extent, full_zero = (128, 224, 2 ** (bits - 1)) if plane else (16, 219, 0)
    return extent * 256 / (2**bits - 1), zero * 256, full_zero


def _planar(pix_fmt: VideoFormat, bits: int) -> str:
    """Return the name of a planar format of so many bits with at least as many samples in each plane."""
    across, down = 16 // pix_fmt.chroma_width(16), 16 // pix_fmt.chroma_height(16)
    name = {(2, 1): "yuv422p", (2, 2): "yuv420p"}.get((across, down), "yuv444p")
    return name if bits == 8 else f"{name}{bits}le"


def _repack(frame: VideoFrame, pix_fmt: str) -> VideoFrame:
    """Return a full-range frame in another pixel format with the same sample values."""
    if pix_fmt.replace("yuvj", "yuv") == frame.format.name.replace("yuvj", "yuv"):
        return frame
    same = ColorRange.JPEG
    return frame.reformat(format=pix_fmt, src_color_range=same, dst_color_range=same)


def _samples(plane: VideoPlane, bits: int) -> "NDArray[np.uint8] | NDArray[np.uint16]":
    """Return a writable view of a plane's samples without the padding of its rows, (H, W)."""
    if bits == 8:
        return np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)[:, : plane.width]
    return np.frombuffer(memoryview(plane), np.uint16).reshape(plane.height, -1)[:, : plane.width]
