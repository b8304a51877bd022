"""Read animated WebP, which FFmpeg can't, as a video."""

import logging
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
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
from vidx4.media.formats.limits import MAX_DRAWN_PIXELS, MAX_PICTURE_SIZE, check_size
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
    """WebP file of the rectangle alone."""


class _Animation:
    """The canvas of an animated WebP, on which its frames are drawn in turn (RFC 9649, 2.7.1.1)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        content = read_picture(path)
        width, height = 1 + _u24(content, _FLAGS + 4), 1 + _u24(content, _FLAGS + 7)
        check_size(width, height, path)
        self.shape = height, width, 4 if content[_FLAGS] & _ALPHA else 3
        self.frames = [
            frame
            for kind, chunk in _chunks(content, 12)
            if kind == b"ANMF" and (frame := _parse_frame(chunk)) is not None
        ]
        if not self.frames:
            raise SourceError(f"No frame of {path} can be decoded.")
        if len(self.frames) * width * height > MAX_DRAWN_PIXELS:
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
        try:
            new = decode_webp(frame.still)
        except SourceError:
            _logger.warning("Frame %d of %s is damaged: the frame before it stays.", index, self._path)
            return
        if new.shape == below.shape:  # a frame that reaches beyond the canvas is not drawn
            below[:] = new if frame.flags & _NO_BLENDING else _composite_over(new, below)


def _parse_frame(chunk: bytes) -> _Frame | None:
    """Return the frame of an ANMF chunk; None if the chunk holds no complete picture."""
    if len(chunk) <= _FRAME_HEADER:
        return None
    left, top, width, height, duration = (_u24(chunk, place) for place in range(0, 15, 3))
    width, height = width + 1, height + 1
    kept = [
        (kind, data) for kind, data in _chunks(chunk, _FRAME_HEADER) if kind in (b"ALPH", b"VP8 ", b"VP8L")
    ]
    # A still picture with a separate alpha chunk must begin with a VP8X chunk (RFC 9649, 2.7).
    if len(kept) > 1:
        sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        kept.insert(0, (b"VP8X", bytes((_ALPHA, 0, 0, 0)) + sides))
    # Frames are placed at even coordinates, which are stored halved.
    place = slice(2 * top, 2 * top + height), slice(2 * left, 2 * left + width)
    shown = duration if duration >= _MIN_DURATION else _USUAL_DURATION
    return _Frame(place, shown, chunk[_FRAME_HEADER - 1], _riff(kept)) if kept else None


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


def _riff(chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    body = b"".join(
        struct.pack("<4sI", kind, len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks
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
