"""How many samples the tables of an MP4 or QuickTime file claim, before FFmpeg makes room for all of them.

A table of a few bytes can claim any number: all samples may be of one size, and an edit list may repeat them.
FFmpeg finds tables in odd places too, so all that is not the samples themselves is searched for their names.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from itertools import islice
from struct import Struct
from typing import BinaryIO

import numpy as np

from vidx4.errors import SourceError
from vidx4.media.formats.boxes import Box, read_boxes

MAX_ENTRIES = 12_000_000
"""Entries of all tables of a file: a day at 30 frames a second, with two streams of sound, has 11 million.
FFmpeg takes up to 40 bytes for each."""
_TOP = frozenset(
    [*b"ediw free ftyp junk mdat moof moov pict pnot prfl skip styp udta uuid wide".split(), b"jP  "]
)
"""Kinds of boxes by which FFmpeg recognises a file, if one is among the first."""
_NUM_FIRST = 64
"""Boxes among which such a one has to be."""
_SAMPLES = b"mdat"
_TABLE = re.compile(rb"stsz|stz2|trun|elst|cmvd")
_NAME = 4
"""Bytes of a name."""
_COUNTS = {b"stsz": Struct(">8xI"), b"stz2": Struct(">8xI"), b"trun": Struct(">4xI"), b"elst": Struct(">4xI")}
"""Where tables state their number of entries (ISO/IEC 14496-12, 8.6.6, 8.7.3 and 8.8.8)."""
_CHUNK, _NUMBERS = 1 << 20, 12
"""Bytes that are searched at a time, and those of the numbers after a name."""
_MAX_BOXES = 3_000_000
"""Boxes of a file: three hours in which each frame and each packet of sound is a fragment have fewer."""
_MAX_SEARCHED = 1 << 30
"""Bytes that are not samples; the tables of `MAX_ENTRIES` take less than half of them."""
_MAX_INFLATED = 1 << 26
"""Bytes of compressed headers, before and after they are decompressed: those of two million samples."""
_PACKED, _INFLATED = 1 << 12, 1 << 16
"""Bytes that are decompressed at a time, before and after."""
_MAX_TABLE = 1 << 26
"""Bytes of a table that is read as a whole."""
_PACKET = 1024
"""Samples of uncompressed sound that FFmpeg reads at a time."""
_PATH = (b"mdia", b"minf", b"stbl")


def num_entries(file: BinaryIO, path: object) -> int:
    """Return how many entries FFmpeg would make for the samples of a file; 0 for one of another format.

    Args:
        file: the file.
        path: the path that errors name.

    Raises:
        SourceError: beside its samples, the file holds more than any video needs.
    """
    boxes = read_boxes(file, 0, file.seek(0, 2))
    if not any(box.kind in _TOP for box in islice(boxes, _NUM_FIRST)):
        return 0
    num_samples, most_samples, most_edits = 0, 0, 1
    for kind, count in _Search(file, path).tables():
        if kind == b"elst":
            most_edits = max(most_edits, count)
        else:
            num_samples, most_samples = num_samples + count, max(most_samples, count)
    # Each edit may show all samples of its track.
    return max(num_samples, most_edits * most_samples)


class _Search:
    """A search for the tables of a file, which ends with an error where no video would take so long."""

    def __init__(self, file: BinaryIO, path: object) -> None:
        self._file, self._path = file, path
        self._num_boxes = self._num_searched = self._num_inflated = 0

    def tables(self) -> Iterator[tuple[bytes, int]]:
        """Yield the name and the number of entries of each table."""
        for box in self._boxes(0, self._file.seek(0, 2)):
            if box.kind != _SAMPLES and box.body < box.stop:
                self._num_searched += box.stop - box.body
                if self._num_searched > _MAX_SEARCHED:
                    raise self._error(f"more than {_MAX_SEARCHED >> 30} GiB beside its video and sound")
                known = dict(self._sound_tables(box)) if box.kind == b"moov" else {}
                yield from self._searched(box, known)

    def _error(self, what: str) -> SourceError:
        return SourceError(f"{self._path} holds {what}: copy its streams to a new file.")

    def _count_box(self) -> None:
        self._num_boxes += 1
        if self._num_boxes > _MAX_BOXES:
            raise self._error(f"more than {_MAX_BOXES:,} boxes")

    def _boxes(self, start: int, stop: int) -> Iterator[Box]:
        """Yield the boxes between two places; one that claims to reach further ends there, as in FFmpeg."""
        for box in read_boxes(self._file, start, stop):
            self._count_box()
            yield replace(box, body=min(box.body, stop), stop=min(box.stop, stop))

    def _searched(self, box: Box, known: dict[int, int]) -> Iterator[tuple[bytes, int]]:
        """Yield the tables in a box; the number of entries of some is known by their places."""
        for place, name, numbers in _names(self._file, box.body, box.stop):
            self._count_box()
            if name == b"cmvd":
                yield from self._compressed(place + _NAME, box.stop)
            else:
                yield name, known.get(place, _count(name, numbers))

    def _compressed(self, start: int, stop: int) -> Iterator[tuple[bytes, int]]:
        """Yield the tables of a compressed header (QuickTime File Format, "Compressed movie resources")."""
        header = self._decompressed(start + 4, stop)  # past the size
        for _, name, numbers in _names(BytesIO(header), 0, len(header)):
            if name == b"cmvd":
                raise self._error("a header that is compressed twice")
            yield name, _count(name, numbers)

    def _decompressed(self, start: int, stop: int) -> bytes:
        """Return the header that begins at a place, decompressed; empty if none does."""
        decompressor, header = zlib.decompressobj(), bytearray()
        with suppress(zlib.error):
            while not decompressor.eof and (packed := self._read(start, min(_PACKED, stop - start))):
                self._count_inflated(packed)
                piece = decompressor.decompress(packed, _INFLATED)
                self._count_inflated(piece)
                header += piece
                start += len(packed) - len(decompressor.unconsumed_tail)
            return bytes(header)
        return b""

    def _count_inflated(self, data: bytes) -> None:
        self._num_inflated += len(data)
        if self._num_inflated > _MAX_INFLATED:
            raise self._error(f"compressed headers of more than {_MAX_INFLATED >> 20} MiB")

    def _read(self, start: int, size: int) -> bytes:
        self._file.seek(start)
        return self._file.read(max(0, size))

    def _sound_tables(self, moov: Box) -> Iterator[tuple[int, int]]:
        """Yield the places of tables of uncompressed sound, and how many packets FFmpeg makes of it."""
        for track in self._inside(moov, b"trak"):
            handlers = self._nested(track, (b"mdia", b"hdlr"))
            if any(self._read(box.body + 8, 4) == b"soun" for box in handlers):
                tables = {table.kind: table for table in self._tables_of(track)}
                if {b"stsz", b"stts", b"stsc"} <= tables.keys() and (
                    num_packets := self._num_packets(tables)
                ):
                    yield tables[b"stsz"].body - _NAME, num_packets

    def _tables_of(self, track: Box) -> Iterator[Box]:
        for box in self._nested(track, _PATH):
            yield from self._boxes(box.body, box.stop)

    def _num_packets(self, tables: dict[bytes, Box]) -> int:
        """Return how many packets FFmpeg makes of uncompressed sound; 0 if it is not told from its tables."""
        chunks, times, runs = tables.get(b"stco") or tables.get(b"co64"), tables[b"stts"], tables[b"stsc"]
        lasts = self._read(times.body, min(17, times.stop - times.body))
        if chunks is None or runs.stop - runs.body > _MAX_TABLE:
            return 0
        if lasts[4:8] + lasts[12:] != struct.pack(">2I", 1, 1):  # not all samples last for a tick
            return 0
        runs_of_chunks = self._read(runs.body + 8, (runs.stop - runs.body - 8) // 12 * 12)
        longest = int(np.frombuffer(runs_of_chunks, ">u4")[1::3].max(initial=0))
        return int.from_bytes(self._read(chunks.body + 4, 4)) * (longest // _PACKET + 1)

    def _nested(self, box: Box, path: tuple[bytes, ...]) -> Iterator[Box]:
        """Yield the boxes that a path of kinds leads to."""
        if not path:
            yield box
            return
        for child in self._inside(box, path[0]):
            yield from self._nested(child, path[1:])

    def _inside(self, box: Box, kind: bytes) -> Iterator[Box]:
        return (child for child in self._boxes(box.body, box.stop) if child.kind == kind)


def _names(file: BinaryIO, start: int, stop: int) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield the place of each name of a table in a box, the name, and what follows, even beyond the box."""
    stop += _NAME  # FFmpeg reads the size and the name of a box if only its first byte is inside
    for chunk in range(start, stop, _CHUNK):
        file.seek(chunk)
        size = min(_CHUNK, stop - chunk)
        data = file.read(size + _NAME + _NUMBERS)
        for match in _TABLE.finditer(data, 0, size + _NAME - 1):
            yield chunk + match.start(), match[0], data[match.end() : match.end() + _NUMBERS]


def _count(name: bytes, numbers: bytes) -> int:
    """Return the number of entries of a table; 0 if the file ends before it."""
    stated = _COUNTS[name]
    return int(stated.unpack_from(numbers)[0]) if len(numbers) >= stated.size else 0
