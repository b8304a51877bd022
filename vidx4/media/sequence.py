"""Pictures that are a video: numbered files, read and written, and animated WebP, which FFmpeg can't read.

FFmpeg reads them as a QuickTime file that only exists while it is read: its index is made here, and what lies
between is the files themselves. So nothing is copied, memory doesn't grow, and any frame can be sought.
"""

import errno
import logging
import os
import re
import shutil
import struct
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from hashlib import file_digest, sha256
from io import RawIOBase
from itertools import accumulate, groupby, pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec import CodecContext
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from vidx4.errors import DiskFullError, OutputError, SourceError
from vidx4.media.color import Converter
from vidx4.video import ColorDescription

_logger = logging.getLogger(__name__)

DEFAULT_RATE = Fraction(25)
"""Numbered pictures per second where nobody says."""
DEFAULT_PATTERN = "%06d.png"
"""How numbered pictures are called that are written."""
_SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_PATTERN = re.compile(r"%(?:0\d+)?d(?![A-Za-z])")
_LAST_NUMBER = re.compile(r"\d+(?=\D*$)")
_KINDS = {b"\x89PNG": b"png ", b"\xff\xd8\xff": b"jpeg", b"II*\0": b"tiff", b"MM\0*": b"tiff"}
"""How files begin, and what QuickTime calls pictures of their kind."""
_WEBP = b"webp"
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class NumberedPictures:
    """Files of one folder that are the frames of a video, in the order of their numbers."""

    folder: Path
    names: tuple[str, ...]
    numbers: tuple[int, ...]

    def file(self, index: int) -> Path:
        """Return the path of a picture."""
        return self.folder / self.names[index]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is to be said of numbers that are missing: the pictures around them follow one another."""
        gaps = [range(a + 1, b) for a, b in pairwise(self.numbers) if b > a + 1]
        if not gaps:
            return ()
        missing = sum(map(len, gaps))
        what = "1 number is" if missing == 1 else f"{missing} numbers are"
        return (
            f"{what} missing among the pictures of {self.folder}, at first {gaps[0].start}: those that are "
            "there follow one another.",
        )


def is_sequence(path: Path) -> bool:
    """Return whether a path is a folder with numbered pictures or a pattern for them (`img_%04d.png`)."""
    with suppress(OSError):
        if path.is_dir():
            return any(_numbered(name) for name in _visible(path))
        return _PATTERN.search(path.name) is not None and not path.exists()
    return False


def find_sequence(path: Path) -> NumberedPictures:
    """Return the pictures that a folder or a pattern stands for.

    In a folder, what counts is the last number of a name; names without one are passed over. A pattern holds
    `%d` or, for numbers that are filled up with zeros, `%04d`.

    Raises:
        SourceError: there are none, they are of more than one series, two have the same number, or the
            folder can't be read.
    """
    folder, pattern = (path, None) if path.is_dir() else (path.parent, path.name)
    series: dict[str, dict[int, str]] = {}
    try:
        for name in _visible(folder):
            if (found := _numbered(name, pattern)) is not None:
                _add(series.setdefault(found[0], {}), found[1], name, folder)
    except OSError as error:
        raise SourceError(f"{folder} can't be read: {error.strerror}.") from error
    if not series:
        raise SourceError(f"{path} stands for no numbered pictures ({', '.join(sorted(_SUFFIXES))}).")
    if len(series) > 1:
        raise SourceError(
            f"{path} holds more than one series of pictures ({', '.join(sorted(series)[:3])}): name one by a "
            "pattern, such as img_%04d.png."
        )
    (names,) = series.values()
    return NumberedPictures(folder, tuple(names[number] for number in sorted(names)), tuple(sorted(names)))


def _add(names: dict[int, str], number: int, name: str, folder: Path) -> None:
    if number in names:
        raise SourceError(f"{names[number]} and {name} in {folder} have the same number.")
    names[number] = name


def _visible(folder: Path) -> Iterator[str]:
    return (name for name in _names(folder) if not name.startswith("."))


def _names(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        yield from (entry.name for entry in entries)


def _numbered(name: str, pattern: str | None = None) -> tuple[str, int] | None:
    """Return the series that a file belongs to and its number; None where it is no numbered picture."""
    if pattern is not None:
        return _matched(name, pattern)
    stem, suffix = os.path.splitext(name)  # noqa: PTH122, since a folder may hold 100,000
    number = _LAST_NUMBER.search(stem)
    if number is None or suffix.lower() not in _SUFFIXES:
        return None
    return f"{stem[: number.start()]}#{stem[number.end() :]}{suffix.lower()}", int(number[0])


def _matched(name: str, pattern: str) -> tuple[str, int] | None:
    place = _PATTERN.search(pattern)
    assert place is not None
    before, after = pattern[: place.start()], pattern[place.end() :]
    digits = name[len(before) : len(name) - len(after)]
    is_match = name.startswith(before) and name.endswith(after) and digits.isascii() and digits.isdigit()
    return (pattern, int(digits)) if is_match and place[0] % int(digits) == digits else None


def sequence_digest(path: Path) -> str:
    """Return the SHA-256 of the names, sizes and contents of numbered pictures, in hexadecimal digits.

    Raises:
        SourceError: there are none.
        OSError: one can't be read.
    """
    found, digest = find_sequence(path), sha256()
    for name in found.names:
        with (found.folder / name).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest.update(
                os.fsencode(name) + struct.pack(">BQ", 0, size) + file_digest(file, "sha256").digest()
            )
    return digest.hexdigest()


def open_sequence(path: Path, frame_rate: Fraction = DEFAULT_RATE) -> InputContainer:
    """Open numbered pictures as a video.

    Args:
        path: a folder or a pattern.
        frame_rate: pictures per second; each is shown at a multiple of its inverse, exactly.

    Raises:
        SourceError: there are none, or they are of a kind that can't be read.
    """
    found = find_sequence(path)
    count, first = len(found.names), found.file(0)
    kind, timing = _kind_of(first), _Timing(frame_rate.numerator, (frame_rate.denominator,) * count)
    if kind == _WEBP:
        height, width, _ = _decoded(_contents(first)).shape
        track = _Track.of_pixels(width, height, 4, timing)
        return _open(path, track, lambda index: _pixels(found.file(index), (height, width)))
    # An empty file, too, is a frame: one that can't be decoded.
    sizes = array("Q", (max(1, _size(found.file(index))) for index in range(count)))
    track = _Track(kind, 24, 0, 0, sizes, timing)
    return _open(path, track, lambda index: _contents(found.file(index)) or b"\0")


def _kind_of(file: Path) -> bytes:
    start = _contents(file, 12)
    kind = (
        _WEBP
        if _is_webp(start)
        else next((k for magic, k in _KINDS.items() if start.startswith(magic)), None)
    )
    if kind is None:
        raise SourceError(f"{file} is no picture of a kind that can be read: PNG, JPEG, TIFF or WebP.")
    return kind


def _contents(file: Path, size: int = -1) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(size)
    except OSError as error:
        raise SourceError(f"{file} can't be read: {error.strerror}.") from error


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise SourceError(f"{file} can't be read: {error.strerror}.") from error


def _pixels(file: Path, shape: tuple[int, int]) -> bytes:
    pixels = _decoded(_contents(file))
    if pixels.shape[:2] != shape:
        raise SourceError(
            f"{file} is of another size than the first picture: enlarge such pictures one by one."
        )
    return pixels.tobytes()


@dataclass(frozen=True)
class _Timing:
    """How long samples are shown, in units of 1 / `timescale` seconds."""

    timescale: int
    durations: Sequence[int]


@dataclass(frozen=True)
class _Track:
    """What the index of a QuickTime file says of its video."""

    codec: bytes
    depth: int
    """Bits per pixel."""
    width: int
    """0 where each sample tells."""
    height: int
    sizes: "array[int]"
    """Of the samples in bytes."""
    timing: _Timing

    @classmethod
    def of_pixels(cls, width: int, height: int, num_channels: int, timing: _Timing) -> "_Track":
        """Return the track of samples that are RGB or RGBA as it is."""
        codec = b"RGBA" if num_channels == 4 else b"raw "
        sizes = array("Q", [width * height * num_channels]) * len(timing.durations)
        return cls(codec, 8 * num_channels, width, height, sizes, timing)


def _open(path: Path, track: _Track, load: Callable[[int], bytes]) -> InputContainer:
    try:
        return av.open(_Movie(path, track, load), "r", format="mov", metadata_errors="replace")
    except FFmpegError as error:
        raise SourceError(f"{path} can't be read as a video ({error.strerror}).") from error


class _Movie(RawIOBase):
    """A QuickTime file of which nothing is stored: header, samples, index.

    Args:
        path: what it stands for.
        track: what it holds.
        load: returns a sample by its index.
    """

    def __init__(self, path: Path, track: _Track, load: Callable[[int], bytes]) -> None:
        self.name = str(path)
        self._load = load
        self._starts = array("Q", accumulate(track.sizes, initial=_MDAT_HEADER))
        self._header = struct.pack(">I4sQ", 1, b"mdat", self._starts[-1])
        self._index = _moov(track, self._starts)
        self._place = 0
        self._sample: tuple[int, bytes] = (-1, b"")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._starts[-1] + len(self._index)}
        self._place = origin[whence] + offset
        return self._place

    def read(self, size: int = -1) -> bytes:
        start, content = self._around(self._place)
        offset = self._place - start
        piece = content[offset:] if size < 0 else content[offset : offset + size]
        self._place += len(piece)
        return piece

    def _around(self, place: int) -> tuple[int, bytes]:
        """Return where the part of the file that holds a byte begins, and the part."""
        if place < _MDAT_HEADER:
            return 0, self._header
        if place >= self._starts[-1]:
            return self._starts[-1], self._index
        index = bisect_right(self._starts, place) - 1
        if self._sample[0] != index:
            sample = self._load(index)
            if len(sample) != self._starts[index + 1] - self._starts[index]:
                raise SourceError(f"A picture of {self.name} changed while it was read.")
            self._sample = index, sample
        return self._starts[index], self._sample[1]


_MDAT_HEADER = 16
"""Bytes before the samples."""
_MATRIX = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
"""A picture that is not turned."""
_64_BITS = 1 << 24
"""The version of boxes whose times have 64 bits."""
_NO_LANGUAGE = 0x7FFF
_DPI = 72 << 16


def _box(kind: bytes, *content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + sum(map(len, content)), kind) + b"".join(content)


def _moov(track: _Track, starts: "array[int]") -> bytes:
    """Return the index of a file (QuickTime File Format, "Movie atoms")."""
    scale, length = track.timing.timescale, sum(track.timing.durations)
    size = track.width << 16, track.height << 16
    movie = struct.pack(">I16xIQIH10x36s24xI", _64_BITS, scale, length, 1 << 16, 0, _MATRIX, 2)
    shown = struct.pack(">I16xI4xQ16x36s2I", _64_BITS | 3, 1, length, _MATRIX, *size)
    clock = struct.pack(">I16xIQH2x", _64_BITS, scale, length, _NO_LANGUAGE)
    media = _box(
        b"minf",
        _box(b"vmhd", struct.pack(">I8x", 1)),
        _box(b"dinf", _box(b"dref", struct.pack(">2I", 0, 1), _box(b"url ", struct.pack(">I", 1)))),
        _sample_table(track, starts),
    )
    handler = _box(b"hdlr", struct.pack(">I4s4s13x", 0, b"mhlr", b"vide"))
    return _box(
        b"moov",
        _box(b"mvhd", movie),
        _box(b"trak", _box(b"tkhd", shown), _box(b"mdia", _box(b"mdhd", clock), handler, media)),
    )


def _sample_table(track: _Track, starts: "array[int]") -> bytes:
    size = track.width, track.height
    entry = struct.pack(">4s6xH16x2H2I4xH32xHh", track.codec, 1, *size, _DPI, _DPI, 1, track.depth, -1)
    runs = [(len(list(run)), duration) for duration, run in groupby(track.timing.durations)]
    count = len(track.sizes)
    return _box(
        b"stbl",
        _box(b"stsd", struct.pack(">3I", 0, 1, 4 + len(entry)), entry),
        _box(b"stts", struct.pack(">2I", 0, len(runs)), *(struct.pack(">2I", *run) for run in runs)),
        _box(b"stsc", struct.pack(">5I", 0, 1, 1, 1, 1)),
        _box(b"stsz", struct.pack(">3I", 0, 0, count), struct.pack(f">{count}I", *track.sizes)),
        _box(b"co64", struct.pack(">2I", 0, count), struct.pack(f">{count}Q", *starts[:-1])),
    )


def is_animation(path: Path) -> bool:
    """Return whether a file is an animated WebP."""
    with suppress(OSError), path.open("rb") as file:
        start = file.read(_FLAGS + 1)
        return (
            _is_webp(start) and start[12:16] == b"VP8X" and start[_FLAGS:] != b"" and bool(start[_FLAGS] & 2)
        )
    return False


def open_animation(path: Path) -> InputContainer:
    """Open an animated WebP as a video of RGBA, or RGB where it has no transparency, in milliseconds.

    It is shown once, however often it says that it repeats. A frame that is shown for 10 ms or less is shown
    for 100, as browsers do.

    Raises:
        SourceError: no frame is whole.
    """
    animation = _Animation(path)
    durations = tuple(frame.duration for frame in animation.frames)
    height, width, num_channels = animation.shape
    track = _Track.of_pixels(width, height, num_channels, _Timing(1000, durations))
    return _open(path, track, animation.pixels)


_FLAGS = 20
"""Where the flags of a WebP lie (RFC 9649, 2.7)."""
_ALPHA = 16
_FRAME_HEADER = 16
_OVERWRITES, _VANISHES = 2, 1
_MIN_DURATION, _USUAL_DURATION = 11, 100
"""Milliseconds."""
_WEBP_COLORS = ColorDescription(matrix=6, primaries=1, transfer=13, chroma_location=2)


@dataclass(frozen=True)
class _Frame:
    """A rectangle that changes, and how."""

    place: tuple[slice, slice]
    duration: int
    flags: int
    still: bytes
    """A WebP file of the rectangle."""


class _Animation:
    """Draws the frames of an animated WebP, one on the other (RFC 9649, 2.7.1.1)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        content = _contents(path)
        width, height = 1 + _u24(content, _FLAGS + 4), 1 + _u24(content, _FLAGS + 7)
        self.shape = height, width, 4 if content[_FLAGS] & _ALPHA else 3
        self.frames = [
            frame
            for kind, chunk in _chunks(content, 12)
            if kind == b"ANMF" and (frame := _frame(chunk)) is not None
        ]
        if not self.frames:
            raise SourceError(f"No frame of {path} can be decoded.")
        self._restart()

    def pixels(self, index: int) -> bytes:
        """Return what is seen at a frame."""
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
        if index > 0 and self.frames[index - 1].flags & _VANISHES:
            self._canvas[self.frames[index - 1].place] = 0
        frame = self.frames[index]
        below = self._canvas[frame.place]
        try:
            new = _decoded(frame.still)
        except SourceError:
            _logger.warning("Frame %d of %s is damaged: the one before it is shown.", index, self._path)
            return
        if new.shape == below.shape:
            below[:] = new if frame.flags & _OVERWRITES else _laid_over(new, below)


def _frame(chunk: bytes) -> _Frame | None:
    """Return a frame, None where it is cut off."""
    if len(chunk) <= _FRAME_HEADER:
        return None
    left, top, width, height, duration = (_u24(chunk, place) for place in range(0, 15, 3))
    width, height = width + 1, height + 1
    kept = [
        (kind, data) for kind, data in _chunks(chunk, _FRAME_HEADER) if kind in (b"ALPH", b"VP8 ", b"VP8L")
    ]
    if len(kept) > 1:
        sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        kept.insert(0, (b"VP8X", bytes((_ALPHA, 0, 0, 0)) + sides))
    place = slice(2 * top, 2 * top + height), slice(2 * left, 2 * left + width)
    shown = duration if duration >= _MIN_DURATION else _USUAL_DURATION
    return _Frame(place, shown, chunk[_FRAME_HEADER - 1], _riff(kept)) if kept else None


def _u24(content: bytes, place: int) -> int:
    return int.from_bytes(content[place : place + 3], "little")


def _is_webp(start: bytes) -> bool:
    return start[:4] == b"RIFF" and start[8:12] == b"WEBP"


def _chunks(content: bytes, place: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the chunks that are whole."""
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


def _decoded(still: bytes) -> NDArray[np.uint8]:
    """Return the pixels of a WebP file that is no animation, (H, W, 4)."""
    decoder = CodecContext.create("webp", "r")
    assert isinstance(decoder, VideoCodecContext)
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


def _laid_over(new: NDArray[np.uint8], below: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Blend pixels that are not multiplied by their alpha, (H, W, 4)."""
    over, under = new[..., 3:] / 255, below[..., 3:] / 255
    alpha = over + under * (1 - over)
    mixed = new[..., :3] * over + below[..., :3] * under * (1 - over)
    color = np.divide(mixed, alpha, out=np.zeros_like(mixed), where=alpha > 0)
    return np.concatenate((color, 255 * alpha), axis=-1).round().astype(np.uint8)


def split_output(output: str | Path) -> tuple[Path, str] | None:
    """Return the folder and the pattern where an output stands for numbered pictures, else None.

    That is a path that ends with a slash, a folder that exists, or `frames/%06d.png`.

    Raises:
        OutputError: the pattern is not one of PNG files.
    """
    path = Path(output)
    if _PATTERN.search(path.name) and path.suffix.lower() in _SUFFIXES:
        if path.suffix.lower() != ".png":
            raise OutputError(f"Numbered pictures are written as PNG: {path.name} should end with .png.")
        return path.parent, path.name
    is_folder = str(output).endswith(("/", os.sep)) or path.is_dir()
    return (path, DEFAULT_PATTERN) if is_folder else None


def check_folder(folder: Path, pattern: str = DEFAULT_PATTERN, *, overwrite: bool = False) -> None:
    """Make sure that numbered pictures can take the place of a folder.

    Raises:
        OutputError: it is no folder, or holds something; with `overwrite`, other than such pictures.
    """
    try:
        if not folder.exists():
            return
        if not folder.is_dir():
            raise OutputError(f"{folder} is a file: name a folder.")
        others = [name for name in _names(folder) if not overwrite or _matched(name, pattern) is None]
    except OSError as error:
        raise OutputError(f"{folder} can't be written: {error.strerror}.") from error
    if others:
        raise OutputError(f"{folder} holds {others[0]} already: name a new or an empty folder.")


def write_sequence(
    packets: Iterable["Packet[Any]"],
    folder: Path,
    pattern: str = DEFAULT_PATTERN,
    first: int = 1,
    *,
    overwrite: bool = False,
) -> int:
    """Write packets of PNG as numbered files; their folder appears whole or not at all.

    Args:
        packets: each holds a picture, in the order in which they are shown.
        folder: must not exist, or be empty.
        pattern: how files are called, with `%d` or `%06d` for the number.
        first: the number of the first.
        overwrite: whether a folder that only holds such pictures is replaced.

    Returns:
        The number of pictures.

    Raises:
        DiskFullError: there is no room for them.
        OutputError: the folder can't be written for another reason.
    """
    check_folder(folder, pattern, overwrite=overwrite)
    mark = sha256(os.fsencode(folder.name)).hexdigest()[:16]
    unfinished, old = (folder.absolute().parent / f".{mark}.{state}" for state in ("unfinished", "old"))
    number = first - 1
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for number, packet in enumerate(packets, first):
            _write_safely(unfinished / (pattern % number), bytes(packet))
        _take_place(unfinished, folder, old)
    except OSError as error:
        kind = DiskFullError if error.errno in _FULL else OutputError
        raise kind(f"{folder} can't be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return number - first + 1


def _take_place(unfinished: Path, folder: Path, old: Path) -> None:
    _flush(unfinished)
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)  # of a run that was killed just here
        folder.replace(old)
    try:
        unfinished.replace(folder)
    except OSError:
        if old.exists():
            old.replace(folder)
        raise
    _flush(folder.absolute().parent)
    shutil.rmtree(old, ignore_errors=True)


def _write_safely(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
