"""Read still pictures of 16 bits per colour, and write them as PNG; Pillow reduces them to 8 bits."""

import struct
import zlib
from collections.abc import Iterable, Iterator
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import TypeAlias

import av
import numpy as np
from av.codec import CodecContext
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vidx4.errors import SourceError
from vidx4.files.read import open_file, read_whole

Chunk: TypeAlias = tuple[bytes, bytes]
"""A chunk of a PNG file: its name and its content."""

SIGNATURE = b"\x89PNG\r\n\x1a\n"
"""The first bytes of a PNG file."""
_HEADER = 33
"""Bytes of a PNG file before its second chunk: the signature, and the chunk IHDR."""
_DEPTH = 24
"""Offset in a PNG file of the number of bits per colour."""
_COLOR_CHUNKS = frozenset({b"cHRM", b"cICP", b"cLLI", b"gAMA", b"mDCV", b"sRGB"})
"""Names of the chunks that define the colours, besides a profile (PNG, third edition, 11.3.2)."""
_COLOR_CHUNK_SIZE = 32
"""Bytes of the largest of these."""
_PIXEL_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
"""Names of the chunks that pixels depend on."""
_PIXEL_TAGS = frozenset({256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 317})
"""Tags of TIFF that FFmpeg decodes gray and RGB pixels by, from `ImageWidth` to `Predictor` (TIFF 6.0)."""
_MAX_CHUNKS = 100_000
"""Most chunks before the pixels that are looked at."""
MAX_PIXELS = 1 << 28
"""Most pixels of a picture that is read, if the caller knows no better."""
_FORMATS = {1: "gray16le", 2: "ya16le", 3: "rgb48le", 4: "rgba64le"}
"""FFmpeg's names of pixel formats by the number of channels."""
PADDING = 1 << 17
"""Pixels with which FFmpeg pads a picture of one row, at most: it counts these, too."""
_BYTES_PER_PIXEL, _OTHER_BYTES = 16, 256 << 20
"""Most bytes of a file for a pixel, twice those of RGBA, and for everything else."""


def read_deep(path: Path, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint16]:
    """Return the pixels of a 16-bit PNG or TIFF file, (H, W, C): grey or RGB, without or with alpha.

    Args:
        path: the file.
        max_pixels: the largest size that is read.

    Raises:
        SourceError: the file is damaged, larger, or FFmpeg can't decode it.
        OSError: the file can't be read.
    """
    content = read_whole(path, _BYTES_PER_PIXEL * max_pixels + _OTHER_BYTES)
    is_png = content.startswith(SIGNATURE)
    context = CodecContext.create("png" if is_png else "tiff", "r")
    assert isinstance(context, VideoCodecContext)
    context.options = {"max_pixels": str(2 * max_pixels + PADDING), "err_detect": "explode"}
    try:
        # Only what the pixels depend on: PyAV may crash on some of the rest, and odd tags are no damage.
        packet = Packet(_only_pixels(content) if is_png else _only_pixel_tags(content))
        frame = next(iter(context.decode(packet) + context.decode(None)))
    except (FFmpegError, StopIteration, struct.error) as error:
        raise SourceError(
            f"{path} can't be read in 16 bits: it is damaged, or its format is not supported."
        ) from error
    if frame.is_corrupt:
        raise SourceError(f"{path} can't be read as a picture: it is damaged.")
    has_alpha = any(component.is_alpha for component in frame.format.components)
    num_channels = (3 if frame.format.is_rgb else 1) + has_alpha
    return _to_pixels(frame.reformat(format=_FORMATS[num_channels]), num_channels)


def _only_pixels(png: bytes) -> bytes:
    """Return a PNG file with nothing but the chunks that its pixels depend on."""
    kept, place = [SIGNATURE], len(SIGNATURE)
    while place + 8 <= len(png):
        length, name = struct.unpack_from(">I4s", png, place)
        stop = place + 12 + length
        if name in _PIXEL_CHUNKS:
            kept.append(png[place:stop])
        place = stop
    return b"".join(kept)


def _only_pixel_tags(tiff: bytes) -> bytes:
    """Return a TIFF file whose first table has only the tags that its pixels depend on."""
    order = "<" if tiff.startswith(b"II") else ">"
    (place,) = struct.unpack_from(f"{order}I", tiff, 4)
    (num_tags,) = struct.unpack_from(f"{order}H", tiff, place)
    start, stop = place + 2, place + 2 + 12 * num_tags
    entries = (tiff[each : each + 12] for each in range(start, stop, 12))
    kept = [each for each in entries if struct.unpack_from(f"{order}H", each)[0] in _PIXEL_TAGS]
    # In place, so that pixels that are missing at the end are not taken from anything else.
    table = struct.pack(f"{order}H", len(kept)) + b"".join(kept).ljust(stop - start, b"\0")
    return tiff[:place] + table + tiff[stop:]


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


def is_deep(path: Path) -> bool:
    """Return whether a file is a PNG file of 16 bits, which Pillow reads in 8 but for gray."""
    with open_file(path) as file:
        start = file.read(_DEPTH + 1)
    return start.startswith(SIGNATURE) and start[_DEPTH:] == b"\x10"


def is_animated(file: BufferedReader) -> bool:
    """Return whether a PNG file has several images, its default image counted (PNG, third edition, 4.8)."""
    num_frames, is_default_shown = 0, False
    for name, _ in _chunks(file):
        if name == b"acTL":
            num_frames = int.from_bytes(file.read(4), "big")
        is_default_shown |= name == b"fcTL"
    is_valid = 0 < num_frames <= 1 << 31
    return is_valid and num_frames + (not is_default_shown) > 1


def color_chunks(path: Path) -> tuple[Chunk, ...]:
    """Return the chunks of a PNG file that define its colours, except a profile; none for other files."""
    found: dict[bytes, bytes] = {}
    with open_file(path) as file:
        is_png = file.read(8) == SIGNATURE
        for name, length in _chunks(file) if is_png else ():
            if name in _COLOR_CHUNKS and length <= _COLOR_CHUNK_SIZE:
                found.setdefault(name, file.read(length))
    return tuple(found.items())


def _chunks(file: BufferedReader) -> Iterator[tuple[bytes, int]]:
    """Yield the name and length of chunks of a PNG file before the pixels; the file is at their content."""
    place = len(SIGNATURE)
    for _ in range(_MAX_CHUNKS):
        file.seek(place)
        header = file.read(8)
        if len(header) < 8 or not header[4:].isalpha() or header[4:] == b"IDAT":
            return
        length = int.from_bytes(header[:4], "big")
        yield header[4:], length
        place += 12 + length
