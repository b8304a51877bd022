"""Where the chroma samples of a frame lie."""

import struct
from fractions import Fraction
from functools import cache

from av.codec import CodecContext
from av.video.frame import VideoFrame

_TAGS = struct.Struct("4i")
"""`color_range`, `color_primaries`, `color_trc` and `colorspace`: neighbours in FFmpeg's `AVFrame`."""
_LOCATION = struct.Struct("i")
"""`chroma_location`, which follows them."""


def chroma_location(frame: VideoFrame) -> int:
    """Return the chroma location of a decoded frame, an `AVChromaLocation`; 0 if it is not stated.

    PyAV 18 has no attribute for it (`VideoFrame.chroma_location` is announced for 19). FFmpeg's filter
    `showinfo` writes it to the log, but log level and log callback belong to the whole process, and other
    threads decode meanwhile. So it is read from the frame's own structure.
    """
    (location,) = _LOCATION.unpack_from(_structure(frame), _offset())
    return int(location)


def _structure(frame: VideoFrame) -> bytes:
    """Return a copy of the `AVFrame` of a frame: the packets of `wrapped_avframe` are just that."""
    context = CodecContext.create("wrapped_avframe", "w")
    context.width, context.height, context.pix_fmt = frame.width, frame.height, frame.format.name
    pts, context.time_base = frame.pts, frame.time_base or Fraction(1)
    (packet,) = context.encode(frame)
    frame.pts = pts  # an encoder numbers frames that have none
    return bytes(packet)


@cache
def _offset() -> int:
    """Return where in an `AVFrame` the chroma location is: after tags that occur nowhere else."""
    tags = 1, 9, 16, 10
    frame = VideoFrame(16, 16, "yuv420p")
    frame.color_range, frame.color_primaries, frame.color_trc, frame.colorspace = tags
    return _structure(frame).index(_TAGS.pack(*tags)) + _TAGS.size
