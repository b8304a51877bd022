"""Read animated WebP, which FFmpeg can't, as a video."""

import logging
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from av.codec import CodecContext
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from vidx4.appearance import ColorDescription
from vidx4.errors import SourceError
from vidx4.files.read import open_file, read_whole
from vidx4.media.display.color import Converter
from vidx4.media.formats.demuxers import DECODER_OPTIONS
from vidx4.media.formats.limits import MAX_DRAWN_PIXELS, MAX_FRAMES, MAX_PICTURE_SIZE, check_size
from vidx4.media.pictures.virtual_mov import Timing, Track, open_track

_logger = logging.getLogger(__name__)


def is_animation(path: Path) -> bool:
    """Return whether a file is an animated WebP."""
    with suppress(OSError), open_file(path) as file:
        start = file.read(_FLAGS + 1)
        return (
            is_webp(start) and start[12:16] == b"VP8X" and start[_FLAGS:] != b"" and bool(start[_FLAGS] & 2)
        )
    return False


def open_animation(path: Path) -> InputContainer:
    """Open an animated WebP as a video with times in milliseconds, RGBA or, if it is opaque, RGB.

    It plays once, whatever its loop count. Frames of 10 ms or less last for 100 ms, as in browsers.

    Raises:
        SourceError: the file holds no complete frame, or can't be read.
    """
    animation = _Animation(path)
    durations = tuple(frame.duration for frame in animation.frames)
    height, width, num_channels = animation.shape
    track = Track.of_pixels(width, height, num_channels, Timing(1000, durations))
    return open_track(path, track, animation.pixels)


_FLAGS = 20
"""Offset of the flags in a WebP file (RFC 9649, 2.7)."""
_ALPHA = 16
"""Flag of a file with transparency."""
_FRAME_HEADER = 16
"""Bytes of a frame's header; the last one holds its flags."""
_NO_BLENDING, _DISPOSAL = 2, 1
"""Flags of a frame that replaces what is below, and of one that is cleared before the next."""
_MAX_SIDE = 0x3FFF
"""Largest width or height of a picture, which is stored in 14 bits."""
_MIN_DURATION, _USUAL_DURATION = 11, 100
"""Shortest duration that is believed, and the one used in place of shorter ones, in milliseconds."""
_WEBP_COLORS = ColorDescription(matrix=6, primaries=1, transfer=13, chroma_location=2)
"""Colours of lossy WebP: BT.601 in the limited range, with the primaries and the curve of sRGB."""


@dataclass(frozen=True)
class _Frame:
    """A frame of an animation: the rectangle that it changes, and how."""

    place: tuple[slice, slice]
    """Rows and columns of the rectangle."""
    duration: int
    """Milliseconds for which the frame is shown."""
    flags: int
    still: bytes
    """WebP file of the rectangle alone; empty if it holds a picture of another size."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the rectangle."""
        rows, columns = self.place
        return rows.stop - rows.start, columns.stop - columns.start


class _Animation:
    """The canvas of an animated WebP, on which its frames are drawn in turn (RFC 9649, 2.7.1.1)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        content = read_picture(path)
        width, height = 1 + _u24(content, _FLAGS + 4), 1 + _u24(content, _FLAGS + 7)
        check_size(width, height, path)
        self.shape = height, width, 4 if content[_FLAGS] & _ALPHA else 3
        frames = (_parse_frame(chunk) for kind, chunk in _chunks(content, 12) if kind == b"ANMF")
        self.frames = list(islice((frame for frame in frames if frame is not None), MAX_FRAMES + 1))
        if not self.frames:
            raise SourceError(f"No frame of {path} can be decoded.")
        # No frame that is larger than the canvas is decoded.
        if len(self.frames) > MAX_FRAMES or len(self.frames) * width * height > MAX_DRAWN_PIXELS:
            raise SourceError(
                f"{path} is an animation of {len(self.frames)} frames of {width}x{height}, which is too much "
                "to be read as one: convert it to a video first."
            )
        self._restart()

    def pixels(self, index: int) -> bytes:
        """Return the pixels of the canvas at a frame, uint8, (H, W, C)."""
        # Frames build on one another, so going back means drawing from the first one.
        if index < self._num_drawn - 1:
            self._restart()
        while self._num_drawn <= index:
            self._draw(self._num_drawn)
            self._num_drawn += 1
        return self._canvas[..., : self.shape[2]].tobytes()

    def _restart(self) -> None:
        self._canvas = np.zeros((*self.shape[:2], 4), np.uint8)
        self._num_drawn = 0

    def _draw(self, index: int) -> None:
        if index > 0 and self.frames[index - 1].flags & _DISPOSAL:
            self._canvas[self.frames[index - 1].place] = 0
        frame = self.frames[index]
        below = self._canvas[frame.place]
        if below.shape[:2] != frame.shape:  # a frame that reaches beyond the canvas is not drawn
            return
        try:
            new = decode_webp(frame.still)
        except SourceError:
            _logger.warning("Frame %d of %s is damaged: the frame before it stays.", index, self._path)
            return
        below[:] = new if frame.flags & _NO_BLENDING else _composite_over(new, below)


def _parse_frame(chunk: bytes) -> _Frame | None:
    """Return the frame of an ANMF chunk; None if the chunk holds no complete picture."""
    if len(chunk) <= _FRAME_HEADER:
        return None
    left, top, width, height, duration = (_u24(chunk, place) for place in range(0, 15, 3))
    width, height = width + 1, height + 1
    still = _still(dict(reversed(list(_chunks(chunk, _FRAME_HEADER)))), width, height)
    # Frames are placed at even coordinates, which are stored halved.
    place = slice(2 * top, 2 * top + height), slice(2 * left, 2 * left + width)
    shown = duration if duration >= _MIN_DURATION else _USUAL_DURATION
    return None if still is None else _Frame(place, shown, chunk[_FRAME_HEADER - 1], still)


def _still(chunks: Mapping[bytes, bytes], width: int, height: int) -> bytes | None:
    """Return the WebP file of a frame's picture; empty if it is of another size, None if there is none."""
    kind = b"VP8L" if b"VP8L" in chunks else b"VP8 "
    if kind not in chunks:
        return None
    if _stored_size(kind, chunks[kind]) != (width, height):
        return b""
    if kind == b"VP8L" or b"ALPH" not in chunks:
        return _riff({kind: chunks[kind]})
    # A still picture with a separate alpha chunk must begin with a VP8X chunk (RFC 9649, 2.7).
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    extended = bytes((_ALPHA, 0, 0, 0)) + sides
    return _riff({b"VP8X": extended, b"ALPH": chunks[b"ALPH"], kind: chunks[kind]})


def _stored_size(kind: bytes, picture: bytes) -> tuple[int, int]:
    """Return the width and height of a lossless (RFC 9649, 3.4) or lossy (RFC 6386, 9.1) picture."""
    if kind == b"VP8L":
        sides = int.from_bytes(picture[1:5], "little")
        return 1 + (sides & _MAX_SIDE), 1 + (sides >> 14 & _MAX_SIDE)
    width, height = (int.from_bytes(picture[place : place + 2], "little") for place in (6, 8))
    return width & _MAX_SIDE, height & _MAX_SIDE


def _u24(content: bytes, place: int) -> int:
    return int.from_bytes(content[place : place + 3], "little")


def is_webp(start: bytes) -> bool:
    """Return whether the first 12 bytes of a file are those of a WebP."""
    return start[:4] == b"RIFF" and start[8:12] == b"WEBP"


def _chunks(content: bytes, place: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the content of each complete chunk from a place on."""
    while place + 8 <= len(content):
        kind, size = struct.unpack_from("<4sI", content, place)
        if place + 8 + size > len(content):
            return
        yield kind, content[place + 8 : place + 8 + size]
        place += 8 + size + size % 2


def _riff(chunks: Mapping[bytes, bytes]) -> bytes:
    body = b"".join(
        struct.pack("<4sI", kind, len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks.items()
    )
    return struct.pack("<4sI4s", b"RIFF", 4 + len(body), b"WEBP") + body


def decode_webp(still: bytes) -> NDArray[np.uint8]:
    """Return the pixels of a WebP file that is not animated, RGBA, (H, W, 4).

    Raises:
        SourceError: the picture can't be decoded.
    """
    decoder = CodecContext.create("webp", "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.options = DECODER_OPTIONS
    try:
        frame = next(iter(decoder.decode(Packet(still)) + decoder.decode(None)), None)
    except FFmpegError as error:
        raise SourceError(f"A picture can't be decoded ({error.strerror}).") from error
    if frame is None:
        raise SourceError("A picture can't be decoded.")
    if frame.format.is_rgb:
        return frame.reformat(format="rgba").to_ndarray().astype(np.uint8)
    rgb = Converter().to_rgb(frame.reformat(format="yuv420p"), _WEBP_COLORS, "rgb24").to_ndarray()
    return np.dstack((rgb, _alpha(frame))).astype(np.uint8)


def _alpha(frame: VideoFrame) -> NDArray[np.uint8]:
    if frame.format.name != "yuva420p":
        return np.full((frame.height, frame.width), 255, np.uint8)
    plane = frame.planes[3]
    return np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]


def _composite_over(new: NDArray[np.uint8], below: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Composite pixels over others (Porter and Duff 1984); RGBA with straight alpha, (H, W, 4)."""
    over, under = new[..., 3:] / 255, below[..., 3:] / 255
    alpha = over + under * (1 - over)
    mixed = new[..., :3] * over + below[..., :3] * under * (1 - over)
    color = np.divide(mixed, alpha, out=np.zeros_like(mixed), where=alpha > 0)
    return np.concatenate((color, 255 * alpha), axis=-1).round().astype(np.uint8)


def read_picture(file: Path) -> bytes:
    """Return the bytes of a picture.

    Raises:
        SourceError: the file can't be read.
    """
    return _read(file, lambda: read_whole(file, MAX_PICTURE_SIZE))


def read_start(file: Path, size: int) -> bytes:
    """Return the first bytes of a picture.

    Raises:
        SourceError: the file can't be read.
    """

    def read() -> bytes:
        with open_file(file) as opened:
            return opened.read(size)

    return _read(file, read)


def _read(file: Path, read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except OSError as error:
        raise SourceError(f"{file} can't be read: {error.strerror}.") from error
