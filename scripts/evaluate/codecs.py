"""Encode frames with an old codec and decode them."""

import io
from collections.abc import Callable, Mapping

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

FRAME_RATE = 25
GOP_SIZE = 12

Options = Mapping[str, str]
"""Options of the encoder, as FFmpeg has them."""
OfSize = Callable[[int, int], Options]
"""Function from width and height to the options."""


def bits_per_pixel(rate: float) -> OfSize:
    """Return the options for a bit rate in bits per pixel of each frame."""
    return lambda width, height: {"b": str(round(rate * FRAME_RATE * width * height))}


def quantizer(step: int) -> Options:
    """Return the options for a fixed quantizer of H.263 or MPEG-4."""
    return {"qmin": str(step), "qmax": str(step)}


def constant_rate(factor: int) -> Options:
    """Return the options for a constant rate factor of x264, without what differs from run to run."""
    return {"crf": str(factor), "x264-params": "mbtree=0:cpu-independent=1"}


def transcode(frames: np.ndarray, codec: str, options: Options | OfSize, num_b_frames: int = 0) -> np.ndarray:
    """Encode frames and decode them, RGB, uint8, (T, H, W, 3); sides are even.

    Args:
        frames: the frames.
        codec: name of the encoder in FFmpeg.
        options: what decides the quality.
        num_b_frames: most consecutive B-frames; x264 decides for itself.
    """
    height, width = frames.shape[1:3]
    file = io.BytesIO()
    with av.open(file, "w", format="nut") as container:
        chosen = options(width, height) if callable(options) else options
        own = {} if codec == "libx264" else {"g": str(GOP_SIZE), "bf": str(num_b_frames)}
        stream = container.add_stream(codec, rate=FRAME_RATE, options={"threads": "1", **own, **chosen})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, "r") as source:
        decoded = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
    if len(decoded) != len(frames):
        raise RuntimeError(f"{codec} gave {len(decoded)} of {len(frames)} frames")
    return np.stack(decoded)
