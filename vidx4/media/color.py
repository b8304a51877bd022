"""Colours: from how a video stores them to RGB, and back."""

import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Interpolation
from numpy.typing import NDArray

from vidx4.video import ColorDescription

_SMOOTH = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
"""How chroma is resampled; FFmpeg's default is bilinear, and rounds down."""


def tag_colors(target: VideoFrame | VideoCodecContext, color: ColorDescription) -> None:
    """Write a colour description on a frame or a codec's context."""
    target.colorspace = color.matrix
    target.color_primaries = color.primaries
    target.color_trc = color.transfer
    target.color_range = ColorRange.JPEG if color.full_range else ColorRange.MPEG


def to_rgb(frame: VideoFrame, color: ColorDescription, pix_fmt: str) -> VideoFrame:
    """Return a frame as RGB over the full range."""
    if not frame.format.is_rgb:
        tag_colors(frame, color)
    return frame.reformat(format=pix_fmt, dst_color_range=ColorRange.JPEG, interpolation=_SMOOTH)


def to_yuv(rgb: VideoFrame, color: ColorDescription, pix_fmt: str) -> VideoFrame:
    """Return an RGB frame as planes of luma and chroma, tagged.

    To the full range FFmpeg rounds chroma down, half a level on average: that step is done here.
    """
    tag_colors(rgb, color)
    wanted = VideoFormat(pix_fmt)
    frame = rgb.reformat(
        format=f"yuv{_subsampling(wanted)}p16le" if color.full_range else pix_fmt,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=_SMOOTH,
    )
    if color.full_range:
        frame = _expand(frame, wanted)
    tag_colors(frame, color)
    return frame


def _subsampling(pix_fmt: VideoFormat) -> str:
    return pix_fmt.name.removeprefix("yuv")[:3]


def _expand(limited: VideoFrame, pix_fmt: VideoFormat) -> VideoFrame:
    """Stretch 16-bit planes from the limited to the full range (ITU-T H.273, equations 27 to 32)."""
    bits = pix_fmt.components[0].bits
    peak = 2**bits - 1
    frame = VideoFrame(limited.width, limited.height, pix_fmt.name)
    for index, (plane, full) in enumerate(zip(limited.planes, frame.planes, strict=True)):
        zero, extent, full_zero = (128, 224, 2 ** (bits - 1)) if index else (16, 219, 0)
        values = (_samples(plane, 16).astype(np.float32) / 256 - zero) * (peak / extent) + full_zero
        _samples(full, bits)[:] = np.rint(values).clip(0, peak)
    return frame


def _samples(plane: VideoPlane, bits: int) -> "NDArray[np.uint8] | NDArray[np.uint16]":
    """Return a view of a plane, (H, W)."""
    if bits == 8:
        return np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)[:, : plane.width]
    return np.frombuffer(memoryview(plane), np.uint16).reshape(plane.height, -1)[:, : plane.width]
