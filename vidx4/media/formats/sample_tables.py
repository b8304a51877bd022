"""How many samples the tables of an MP4 or QuickTime file claim, before FFmpeg makes room for all of them.

A table of a few bytes can claim any number: all samples may be of one size, and an edit list may repeat them.
FFmpeg finds tables in odd places too, so all that is not the samples themselves is searched for their names.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from typing import BinaryIO

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
_TABLE = re.compile(rb"(stsz|stz2|trun|elst|cmvd)", re.DOTALL)
_COUNTS = {b"stsz": (">8xI", 12), b"stz2": (">8xI", 12), b"trun": (">4xI", 8), b"elst": (">4xI", 8)}
"""Where tables state their number of entries (ISO/IEC 14496-12, 8.6.6, 8.7.3 and 8.8.8)."""
_CHUNK, _OVERLAP = 1 << 20, 16
"""Bytes that are searched at a time, and those of the name of a table and its numbers."""
_MAX_HEADER = 1 << 28
"""Bytes of a compressed header after it is decompressed."""
_PACKET = 1024
"""Samples of uncompressed sound that FFmpeg reads at a time."""
_PATH = (b"mdia", b"minf", b"stbl")


def num_entries(file: BinaryIO) -> int:
    """Return how many entries FFmpeg would make for the samples of a file; 0 for one of another format."""
    boxes = read_boxes(file, 0, file.seek(0, 2))
    if not any(box.kind in _TOP for box in islice(boxes, _NUM_FIRST)):
        return 0
    num_samples, most_samples, most_edits = 0, 0, 1
    for kind, count in _stated(file):
        if kind == b"elst":
            most_edits = max(most_edits, count)
        else:
            num_samples, most_samples = num_samples + count, max(most_samples, count)
    # Each edit may show all samples of its track.
    return max(num_samples, most_edits * most_samples)


def _stated(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield the name and the number of entries of each table."""
    size = file.seek(0, 2)
    for box in list(read_boxes(file, 0, size)):
        if box.kind != _SAMPLES:
            known = dict(_sound_tables(file, box)) if box.kind == b"moov" else {}
            yield from _searched(file, box.body, min(box.stop, size), known)


def _searched(file: BinaryIO, start: int, stop: int, known: dict[int, int]) -> Iterator[tuple[bytes, int]]:
    """Yield the tables between two places; the number of some is known by their places."""
    for place in range(start, stop, _CHUNK):
        file.seek(place)
        data = file.read(min(_CHUNK, stop - place) + _OVERLAP)
        for match in _TABLE.finditer(data, 0, _CHUNK):
            if match[0] == b"cmvd":
                yield from _compressed(file, place + match.end(), stop)
            elif len(data) >= match.end() + _COUNTS[match[0]][1]:
                (count,) = struct.unpack_from(_COUNTS[match[0]][0], data, match.end())
                yield match[0], known.get(place + match.start(), count)


def _compressed(file: BinaryIO, start: int, stop: int) -> Iterator[tuple[bytes, int]]:
    """Yield the tables of a compressed header (QuickTime File Format, "Compressed movie resources")."""
    file.seek(start + 4)  # past the size
    try:
        header = zlib.decompressobj().decompress(file.read(stop - start), _MAX_HEADER)
    except zlib.error:
        return
    yield from _searched(BytesIO(header), 0, len(header), {})


def _sound_tables(file: BinaryIO, moov: Box) -> Iterator[tuple[int, int]]:
    """Yield the places of tables of uncompressed sound, and how many packets FFmpeg makes of the samples."""
    for track in _inside(file, moov, b"trak"):
        if not any(_content(file, box)[8:12] == b"soun" for box in _nested(file, track, (b"mdia", b"hdlr"))):
            continue
        tables = {box.kind: box for box in _children(file, track)}
        if not {b"stsz", b"stts", b"stsc"} <= tables.keys() or not tables.keys() & {b"stco", b"co64"}:
            continue
        times = _content(file, tables[b"stts"])[4:]
        if times == struct.pack(">I", 1) + times[4:8] + struct.pack(">I", 1):  # all samples last for a tick
            chunks = _content(file, tables.get(b"stco") or tables[b"co64"], 8)
            runs = _content(file, tables[b"stsc"])[8:]
            longest = max(
                (run[1] for run in struct.iter_unpack(">3I", runs[: len(runs) // 12 * 12])), default=0
            )
            yield tables[b"stsz"].body - 4, int.from_bytes(chunks[4:]) * (longest // _PACKET + 1)


def _children(file: BinaryIO, track: Box) -> Iterator[Box]:
    for table in _nested(file, track, _PATH):
        yield from read_boxes(file, table.body, table.stop)


def _nested(file: BinaryIO, box: Box, path: tuple[bytes, ...]) -> Iterator[Box]:
    """Yield the boxes that a path of kinds leads to."""
    if not path:
        yield box
        return
    for child in _inside(file, box, path[0]):
        yield from _nested(file, child, path[1:])


def _inside(file: BinaryIO, box: Box, kind: bytes) -> list[Box]:
    return [child for child in read_boxes(file, box.body, box.stop) if child.kind == kind]


def _content(file: BinaryIO, box: Box, size: int = -1) -> bytes:
    file.seek(box.body)
    return file.read(min(box.stop - box.body, _CHUNK * 64) if size < 0 else size)
