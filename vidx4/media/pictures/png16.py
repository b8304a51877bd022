"""Still pictures of 16 bits per colour, which Pillow reads and writes in 8."""

import struct
import zlib
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vidx4.errors import SourceError

Chunk: TypeAlias = tuple[bytes, bytes]
"""A part of a PNG file: its name, and what it holds."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = 33
"""Bytes of a PNG file up to its second chunk."""
_COLOR_CHUNKS = frozenset({b"cHRM", b"cICP", b"cLLI", b"gAMA", b"mDCV", b"sRGB"})
"""Those that tell what the numbers stand for, beside a profile (PNG, third edition, 11.3.2)."""
_FORMATS = {1: "gray16le", 2: "ya16le", 3: "rgb48le", 4: "rgba64le"}
"""FFmpeg's names of pixels with so many channels."""


def read_deep(path: Path) -> NDArray[np.uint16]:
    """Return the pixels of a PNG or TIFF file of 16 bits, (H, W, C): gray or RGB, without or with alpha.

    Raises:
        SourceError: the file is damaged, or of a kind that FFmpeg doesn't know.
        OSError: the file can't be read.
    """
    try:
        # Without its name, which FFmpeg may take for a pattern.
        with path.open("rb") as file, av.open(file, "r") as container:
            frame = next(container.decode(video=0))
    except (FFmpegError, StopIteration) as error:
        raise SourceError(f"{path} can't be read in 16 bits: it is damaged, or of a rare kind.") from error
    if frame.is_corrupt:
        raise SourceError(f"{path} can't be read as a picture: it is damaged.")
    names = {component.is_alpha for component in frame.format.components}
    num_channels = (3 if frame.format.is_rgb else 1) + (True in names)
    return _pixels(frame.reformat(format=_FORMATS[num_channels]), num_channels)


def _pixels(frame: VideoFrame, num_channels: int) -> NDArray[np.uint16]:
    plane = frame.planes[0]
    rows = np.frombuffer(bytes(plane), "<u2").reshape(frame.height, plane.line_size // 2)
    used = rows[:, : frame.width * num_channels]
    return used.reshape(frame.height, frame.width, num_channels).astype(np.uint16)


def encode_png(pixels: NDArray[np.uint16], chunks: Iterable[Chunk] = ()) -> bytes:
    """Return a PNG file of 16 bits.

    Args:
        pixels: (H, W, C): gray or RGB, without or with alpha.
        chunks: what else it shall hold, put before the pixels.
    """
    file = BytesIO()
    with av.open(file, "w", format="image2pipe") as container:
        frame = _frame(pixels)
        stream = container.add_stream("png", rate=1, options={"pred": "mixed"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, frame.format.name
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    png = file.getvalue()
    return png[:_HEADER] + b"".join(map(_packed, chunks)) + png[_HEADER:]


def _frame(pixels: NDArray[np.uint16]) -> VideoFrame:
    height, width, num_channels = pixels.shape
    frame = VideoFrame(width, height, _FORMATS[num_channels].replace("le", "be"))
    plane = frame.planes[0]
    rows = np.zeros((height, plane.line_size // 2), ">u2")
    rows[:, : width * num_channels] = pixels.reshape(height, -1)
    plane.update(rows.tobytes())
    return frame


def _packed(chunk: Chunk) -> bytes:
    name, content = chunk
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def profile_chunk(icc_profile: bytes) -> Chunk:
    """Return the chunk of a colour profile."""
    return b"iCCP", b"ICC profile\0\0" + zlib.compress(icc_profile)


def density_chunk(dpi: tuple[float, float]) -> Chunk:
    """Return the chunk that tells how many pixels an inch has."""
    return b"pHYs", struct.pack(">2IB", *(round(density / 0.0254) for density in dpi), 1)


def color_chunks(path: Path) -> tuple[Chunk, ...]:
    """Return what a PNG file says of its colours, but for a profile; nothing for any other file."""
    with path.open("rb") as file:
        is_png = file.read(8) == _SIGNATURE
    return tuple(chunk for chunk in _chunks(path) if chunk[0] in _COLOR_CHUNKS) if is_png else ()


def _chunks(path: Path) -> Iterator[Chunk]:
    """Yield the chunks before the pixels."""
    with path.open("rb") as file:
        file.seek(len(_SIGNATURE))
        while len(header := file.read(8)) == 8 and header[4:] != b"IDAT":
            content = file.read(int.from_bytes(header[:4], "big"))
            file.seek(4, 1)
            yield header[4:], content
