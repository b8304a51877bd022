"""Read still pictures of 16 bits per colour, and write them as PNG; Pillow reduces them to 8 bits."""

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
from vidx4.files.read import open_file

Chunk: TypeAlias = tuple[bytes, bytes]
"""A chunk of a PNG file: its name and its content."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = 33
"""Bytes of a PNG file before its second chunk: the signature, and the chunk IHDR."""
_COLOR_CHUNKS = frozenset({b"cHRM", b"cICP", b"cLLI", b"gAMA", b"mDCV", b"sRGB"})
"""Names of the chunks that define the colours, besides a profile (PNG, third edition, 11.3.2)."""
_FORMATS = {1: "gray16le", 2: "ya16le", 3: "rgb48le", 4: "rgba64le"}
"""FFmpeg's names of pixel formats by the number of channels."""


def read_deep(path: Path) -> NDArray[np.uint16]:
    """Return the pixels of a 16-bit PNG or TIFF file, (H, W, C): grey or RGB, without or with alpha.

    Raises:
        SourceError: the file is damaged, or FFmpeg doesn't know its format.
        OSError: the file can't be read.
    """
    try:
        # FFmpeg would take a name such as a%03d.png for a pattern, so it gets the open file.
        with open_file(path) as file, av.open(file, "r") as container:
            frame = next(container.decode(video=0))
    except (FFmpegError, StopIteration) as error:
        raise SourceError(
            f"{path} can't be read in 16 bits: it is damaged, or its format is not supported."
        ) from error
    if frame.is_corrupt:
        raise SourceError(f"{path} can't be read as a picture: it is damaged.")
    has_alpha = any(component.is_alpha for component in frame.format.components)
    num_channels = (3 if frame.format.is_rgb else 1) + has_alpha
    return _to_pixels(frame.reformat(format=_FORMATS[num_channels]), num_channels)


def _to_pixels(frame: VideoFrame, num_channels: int) -> NDArray[np.uint16]:
    """Return the pixels of a frame without the padding of its rows, (H, W, C)."""
    plane = frame.planes[0]
    # Little-endian on every machine, as `_FORMATS` asks for; the result is in the machine's own order.
    rows = np.frombuffer(bytes(plane), "<u2").reshape(frame.height, plane.line_size // 2)
    used = rows[:, : frame.width * num_channels]
    return used.reshape(frame.height, frame.width, num_channels).astype(np.uint16)


def encode_png(pixels: NDArray[np.uint16], chunks: Iterable[Chunk] = ()) -> bytes:
    """Return the bytes of a 16-bit PNG file.

    Args:
        pixels: the picture, grey or RGB, without or with alpha, (H, W, C).
        chunks: further chunks, to be put before the pixels.
    """
    file = BytesIO()
    with av.open(file, "w", format="image2pipe") as container:
        frame = _to_frame(pixels)
        stream = container.add_stream("png", rate=1, options={"pred": "mixed"})
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, frame.format.name
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    png = file.getvalue()
    return png[:_HEADER] + b"".join(map(_pack, chunks)) + png[_HEADER:]


def _to_frame(pixels: NDArray[np.uint16]) -> VideoFrame:
    height, width, num_channels = pixels.shape
    # PNG stores big-endian numbers, and FFmpeg's encoder takes no others.
    frame = VideoFrame(width, height, _FORMATS[num_channels].replace("le", "be"))
    plane = frame.planes[0]
    rows = np.zeros((height, plane.line_size // 2), ">u2")
    rows[:, : width * num_channels] = pixels.reshape(height, -1)
    plane.update(rows.tobytes())
    return frame


def _pack(chunk: Chunk) -> bytes:
    """Return a chunk as it is stored: length, name, content and checksum (PNG, third edition, 5.3)."""
    name, content = chunk
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def profile_chunk(icc_profile: bytes) -> Chunk:
    """Return the chunk that holds a colour profile."""
    return b"iCCP", b"ICC profile\0\0" + zlib.compress(icc_profile)


def density_chunk(dpi: tuple[float, float]) -> Chunk:
    """Return the chunk that holds the pixel density, given in pixels per inch, across and down."""
    return b"pHYs", struct.pack(">2IB", *(round(density / 0.0254) for density in dpi), 1)


def color_chunks(path: Path) -> tuple[Chunk, ...]:
    """Return the chunks of a PNG file that define its colours, except a profile; none for other files."""
    with open_file(path) as file:
        is_png = file.read(8) == _SIGNATURE
    return tuple(chunk for chunk in _chunks(path) if chunk[0] in _COLOR_CHUNKS) if is_png else ()


def _chunks(path: Path) -> Iterator[Chunk]:
    """Yield the chunks of a PNG file before the pixels."""
    with open_file(path) as file:
        file.seek(len(_SIGNATURE))
        while len(header := file.read(8)) == 8 and header[4:] != b"IDAT":
            content = file.read(int.from_bytes(header[:4], "big"))
            file.seek(4, 1)  # past the checksum
            yield header[4:], content
