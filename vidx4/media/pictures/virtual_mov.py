"""A QuickTime file that only exists while it is read.

Its index is made here, and what lies between is loaded when it is asked for: so nothing is copied, memory
doesn't grow, and any frame can be sought.
"""

import os
import struct
from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import RawIOBase
from itertools import accumulate, groupby
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError

from vidx4.errors import SourceError


@dataclass(frozen=True)
class Timing:
    """How long samples are shown, in units of 1 / `timescale` seconds."""

    timescale: int
    durations: Sequence[int]


@dataclass(frozen=True)
class Track:
    """What the index of a QuickTime file says of its video."""

    codec: bytes
    depth: int
    """Bits per pixel."""
    width: int
    """0 where each sample tells."""
    height: int
    sizes: "array[int]"
    """Of the samples in bytes."""
    timing: Timing

    @classmethod
    def of_pixels(cls, width: int, height: int, num_channels: int, timing: Timing) -> "Track":
        """Return the track of samples that are RGB or RGBA as it is."""
        codec = b"RGBA" if num_channels == 4 else b"raw "
        sizes = array("Q", [width * height * num_channels]) * len(timing.durations)
        return cls(codec, 8 * num_channels, width, height, sizes, timing)


def open_track(path: Path, track: Track, load: Callable[[int], bytes]) -> InputContainer:
    """Open a file that holds a track.

    Args:
        path: what errors are about.
        track: its index.
        load: returns a sample by its number.

    Raises:
        SourceError: no video can be read from it.
    """
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

    def __init__(self, path: Path, track: Track, load: Callable[[int], bytes]) -> None:
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


def _moov(track: Track, starts: "array[int]") -> bytes:
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


def _sample_table(track: Track, starts: "array[int]") -> bytes:
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
