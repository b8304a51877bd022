"""Convert grey frames to RGB."""

import numpy as np
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

_LIMITED = 1
"""`AVColorRange` of the limited range."""


def gray_to_rgb(frame: VideoFrame, pix_fmt: str) -> VideoFrame:
    """Return a grey frame as RGB over the full range, each colour with the value of the grey.

    FFmpeg's scaler takes any grey for full range, and is exact for 8 bits only. Grey of the limited range is
    marked so: the decoders of all codecs for which it is the default do that.

    Args:
        frame: the frame, without or with alpha, of one bit per pixel or more.
        pix_fmt: `rgb24` or `rgb48le`.
    """
    levels = _levels(frame) * (2 ** VideoFormat(pix_fmt).components[0].bits - 1)
    gray = np.rint(levels).astype(np.uint8 if pix_fmt == "rgb24" else np.uint16)
    rgb = VideoFrame.from_ndarray(gray[..., None].repeat(3, axis=2), format=pix_fmt)
    rgb.pts = frame.pts
    if frame.time_base is not None:
        rgb.time_base = frame.time_base
    return rgb


def _levels(frame: VideoFrame) -> NDArray[np.float64]:
    """Return the grey values in [0, 1], (H, W)."""
    if "f32" in frame.format.name:
        return _floats(frame)
    bits = min(16, max(8, frame.format.components[0].bits))  # of 1 bit, the scaler makes 0 and 255
    same = ColorRange.JPEG  # values must not be changed
    plane = frame.reformat(
        format="gray" if bits == 8 else f"gray{bits}le", src_color_range=same, dst_color_range=same
    ).planes[0]
    samples = np.frombuffer(memoryview(plane), np.uint8 if bits == 8 else "<u2")
    values: NDArray[np.float64] = samples.reshape(plane.height, -1)[:, : plane.width].astype(np.float64)
    if frame.color_range != _LIMITED or frame.format.components[0].bits == 1:
        return values / ((1 << bits) - 1)
    step = 1 << bits - 8
    return ((values - 16 * step) / (219 * step)).clip(0, 1)


def _floats(frame: VideoFrame) -> NDArray[np.float64]:
    """Return the values of floating-point grey, cut to [0, 1]; with alpha, the scaler ends the process."""
    dtype = "<f4" if frame.format.name.endswith("le") else ">f4"
    step = len(frame.format.components)
    rows = np.frombuffer(memoryview(frame.planes[0]), dtype).reshape(frame.height, -1)
    return np.nan_to_num(rows[:, : frame.width * step : step].astype(np.float64)).clip(0, 1)
