"""How numbers stand for colours, in FFmpeg's words."""

from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation

from vidx4.video import ColorDescription

SMOOTH = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
"""How chroma is resampled; FFmpeg's default is bilinear, and rounds down."""


def color_range(color: ColorDescription) -> ColorRange:
    """Return FFmpeg's name of the range."""
    return ColorRange.JPEG if color.full_range else ColorRange.MPEG


def tag_colors(target: VideoFrame | VideoCodecContext, color: ColorDescription) -> None:
    """Write a colour description on a frame or a codec's context."""
    target.colorspace = color.matrix
    target.color_primaries = color.primaries
    target.color_trc = color.transfer
    target.color_range = color_range(color)
