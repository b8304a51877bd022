"""Boxes, of which MP4 and QuickTime files consist (ISO/IEC 14496-12, 4.2).

A box is its size with this header, its kind (four letters), and its content, which may be boxes again.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

_HEADER, _LARGE_HEADER = struct.Struct(">I4s"), struct.Struct(">I4sQ")
_LARGE, _TO_THE_END = 1, 0
"""Sizes with a meaning: 64 bits after the kind hold the size, or the box is the last of the file."""
_SAMPLE_ENTRY_PATH = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
_STSD_PREFIX = 8
"""Bytes of `stsd` before its first box: version, flags and the number of entries."""


@dataclass(frozen=True)
class Box:
    """A box, by its places in a file."""

    kind: bytes
    start: int
    """The place of its first byte."""
    body: int
    """The place of the first byte of its content."""
    stop: int
    """The place after its last byte, as the box states it: a file that is cut off ends before."""


def read_boxes(file: BinaryIO, start: int, stop: int) -> Iterator[Box]:
    """Yield boxes one after another, up to the first thing that can't be one.

    Args:
        file: a file that can be sought.
        start: the place of the first box.
        stop: the place where the boxes end.
    """
    while start + _HEADER.size <= stop and (box := _read_box(file, start, stop)) is not None:
        yield box
        start = box.stop


def _read_box(file: BinaryIO, start: int, stop: int) -> Box | None:
    """Return the box at a place; None if its size is less than its header takes."""
    file.seek(start)
    head = file.read(_LARGE_HEADER.size)
    if len(head) < _HEADER.size:
        return None
    size, kind = _HEADER.unpack_from(head)
    if size == _TO_THE_END:
        return Box(kind, start, start + _HEADER.size, stop)
    if size != _LARGE:
        return Box(kind, start, start + _HEADER.size, start + size) if size >= _HEADER.size else None
    if len(head) < _LARGE_HEADER.size:
        return None
    size = _LARGE_HEADER.unpack(head)[2]
    return Box(kind, start, start + _LARGE_HEADER.size, start + size) if size >= _LARGE_HEADER.size else None


def find_sample_entry(mp4: bytes) -> tuple[Box, ...]:
    """Return the description of the first track's samples, after the boxes that it is nested in.

    Raises:
        ValueError: there is none.
    """
    file, start, stop = BytesIO(mp4), 0, len(mp4)
    nested: list[Box] = []
    for kind in _SAMPLE_ENTRY_PATH:
        nested.append(_first(file, start, stop, kind))
        start, stop = nested[-1].body, nested[-1].stop
    return (*nested, _first(file, start + _STSD_PREFIX, stop))


def _first(file: BinaryIO, start: int, stop: int, kind: bytes | None = None) -> Box:
    """Return the first box, of a kind if one is given, that ends before `stop`."""
    for box in read_boxes(file, start, stop):
        if kind in (None, box.kind) and box.stop <= stop:
            return box
    raise ValueError(f"There is no box {(kind or b'').decode()}.")


def add_to_sample_entry(mp4: bytes, boxes: bytes) -> bytes:
    """Return a file with more boxes in the description of its only track's samples.

    Args:
        mp4: a file as FFmpeg writes it: `moov` comes last, so that no place that it states is moved by the
            addition, and its boxes have sizes of 32 bits.
        boxes: what is added.

    Raises:
        ValueError: the file has no track.
    """
    data, nested = bytearray(mp4), find_sample_entry(mp4)
    data[nested[-1].stop : nested[-1].stop] = boxes
    for box in nested:
        _HEADER.pack_into(data, box.start, box.stop - box.start + len(boxes), box.kind)
    return bytes(data)


def append_to_sample_entry(path: Path, boxes: bytes) -> None:
    """Add boxes to the description of the first track's samples in a file; see `add_to_sample_entry`.

    Only the header, `moov`, is read and written again.
    """
    with path.open("r+b") as file:
        *_, header = read_boxes(file, 0, file.seek(0, os.SEEK_END))
        file.seek(header.start)
        changed = add_to_sample_entry(file.read(), boxes)
        file.seek(header.start)
        file.write(changed)
