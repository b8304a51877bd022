"""A QuickTime file that only exists while it is read.

Its header and index are generated, and samples are loaded on demand: nothing is copied, memory does not grow,
and FFmpeg can seek to any frame.
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
from vidx4.media.formats.demuxers import DECODER_OPTIONS


@dataclass(frozen=True)
class Timing:
    """The durations of samples, in units of 1 / `timescale` seconds."""

    timescale: int
    durations: Sequence[int]


@dataclass(frozen=True)
class Track:
    """The description of a video in the index of a QuickTime file."""

    codec: bytes
    depth: int
    """Bits per pixel."""
    width: int
    """Width of the picture in pixels; 0 if the samples state it."""
    height: int
    sizes: "array[int]"
    """Sizes of the samples in bytes."""
    timing: Timing

    @classmethod
    def of_pixels(cls, width: int, height: int, num_channels: int, timing: Timing) -> "Track":
        """Return the track of samples that are uncompressed RGB or RGBA."""
        codec = b"RGBA" if num_channels == 4 else b"raw "
        sizes = array("Q", [width * height * num_channels]) * len(timing.durations)
        return cls(codec, 8 * num_channels, width, height, sizes, timing)


def open_track(path: Path, track: Track, load: Callable[[int], bytes]) -> InputContainer:
    """Open the file that consists of a track.

    Args:
        path: the path that errors name.
        track: the description of the track.
        load: a function that returns a sample by its index.

    Raises:
        SourceError: the samples can't be read as a video.
    """
    try:
        container = av.open(
            _Movie(path, track, load),
            "r",
            format="mov",
            options=DECODER_OPTIONS,
            metadata_errors="replace",
        )
    except FFmpegError as error:
        raise SourceError(f"{path} can't be read as a video ({error.strerror}).") from error
    container.streams.video[0].codec_context.options = DECODER_OPTIONS
    return container


class _Movie(RawIOBase):
    """A file object of a QuickTime file: header, samples, index.

    Args:
        path: the path that errors name.
        track: the description of its track.
        load: a function that returns a sample by its index.
    """

    def __init__(self, path: Path, track: Track, load: Callable[[int], bytes]) -> None:
        self.name = str(path)
        self._load = load
        self._starts = array("Q", accumulate(track.sizes, initial=_MDAT_HEADER))
        self._header = struct.pack(">I4sQ", 1, b"mdat", self._starts[-1])
        self._index = _moov(track, self._starts)
        self._place = 0
        self._sample: tuple[int, bytes] = (-1, b"")
        self._error: SourceError | None = None

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
        """Return the start and the content of the part of the file that a place is in."""
        if place < _MDAT_HEADER:
            return 0, self._header
        if place >= self._starts[-1]:
            return self._starts[-1], self._index
        index = bisect_right(self._starts, place) - 1
        if self._sample[0] != index:
            self._sample = index, self._loaded(index)
        return self._starts[index], self._sample[1]

    def _loaded(self, index: int) -> bytes:
        # FFmpeg reads on after an error, and PyAV raises it at its next call: that must not be one to decode
        # another sample.
        if self._error is not None:
            raise self._error
        try:
            sample = self._load(index)
            if len(sample) != self._starts[index + 1] - self._starts[index]:
                raise SourceError(f"A picture of {self.name} was changed while it was read.")
        except SourceError as error:
            self._error = error
            raise
        return sample


_MDAT_HEADER = 16
"""Bytes before the samples: the header of `mdat` with a size of 64 bits."""
_MATRIX = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
"""The display matrix of a picture that is not rotated."""
_64_BITS = 1 << 24
"""Version 1 of a box, with times of 64 bits, and no flags."""
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
