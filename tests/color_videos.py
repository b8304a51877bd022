"""Videos with any codes of colours, and with pixel formats that few have."""

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

Codes = tuple[int, int, int]
"""Codes of matrix, primaries and transfer."""

SIDE = 16


def picture() -> NDArray[np.uint8]:
    """Return a picture of coarse random colours, (H, W, 3)."""
    coarse = np.random.default_rng(0).integers(60, 200, (4, 4, 3)).astype(np.uint8)
    return coarse.repeat(SIDE // 4, axis=0).repeat(SIDE // 4, axis=1)


def write_frames(
    path: Path, codec: str, frames: list[VideoFrame], options: dict[str, str] | None = None, **tags: Any
) -> Path:
    """Write frames of any pixel format; `tags` are attributes of the encoder's context."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = frames[0].width, frames[0].height
        stream.pix_fmt = frames[0].format.name
        for key, value in tags.items():
            setattr(stream.codec_context, key, value)
        for index, frame in enumerate(frames):
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_h264(path: Path, codes: Codes, pix_fmt: str = "yuv420p") -> Path:
    """Write one frame of H.264 whose headers hold any codes."""
    frame = VideoFrame.from_ndarray(picture(), format="rgb24").reformat(format=pix_fmt)
    options = {"preset": "ultrafast", "x264-params": "log-level=none"}
    plain = write_frames(path.with_suffix(".h264"), "libx264", [frame], options, color_range=1)
    names = "matrix_coefficients", "colour_primaries", "transfer_characteristics"
    patch = ":".join(f"{name}={code}" for name, code in zip(names, codes, strict=True))
    with av.open(str(plain)) as original, av.open(str(path), "w") as container:
        stream = original.streams.video[0]
        patched = BitStreamFilterContext(f"h264_metadata={patch}", stream)
        copy = container.add_stream_from_template(stream)
        for packet in original.demux(stream):
            for each in patched.filter(packet) if packet.size else ():
                each.stream, each.pts, each.dts, each.time_base = copy, 0, 0, Fraction(1, 25)
                container.mux(each)
    return path


def gray_frame(values: NDArray[Any], pix_fmt: str) -> VideoFrame:
    """Return a frame with these values in its first plane, (H, W): one sample each, or 8 pixels a byte."""
    height, width = values.shape
    frame = VideoFrame(8 * width if pix_fmt.startswith("mono") else width, height, pix_fmt)
    plane = frame.planes[0]
    rows = np.zeros((height, plane.line_size // values.itemsize), values.dtype)
    rows[:, :width] = values
    plane.update(rows.tobytes())
    return frame


def write_prores(path: Path, codes: Codes) -> Path:
    """Write one frame of ProRes whose header, and that of its container, hold any codes."""
    frame = VideoFrame.from_ndarray(picture(), format="rgb24").reformat(format="yuv422p10le")
    write_frames(path, "prores_ks", [frame], colorspace=1, color_primaries=1, color_trc=1)
    matrix, primaries, transfer = codes
    data = bytearray(path.read_bytes())
    start = data.index(b"icpf") + 18  # after the name and 14 bytes of the frame's header
    data[start : start + 3] = bytes((primaries, transfer, matrix))
    struct.pack_into(">3H", data, data.index(b"nclc") + 4, primaries, transfer, matrix)
    path.write_bytes(data)
    return path
