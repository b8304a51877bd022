"""Whether a file is cut off, as its own structure tells."""

import struct
from pathlib import Path

import pytest

from vidx4.media.container import is_cut_off
from vidx4.media.formats.ebml import HEADER, Element
from vidx4.media.formats.matroska import SEGMENT, VOID

EBML = bytes(Element(HEADER, bytes(20)))
LONG_EBML = bytes(Element(HEADER, bytes(500), width=8))
FTYP = struct.pack(">I4s4s", 12, b"ftyp", b"isom")


@pytest.mark.parametrize(
    ("data", "is_cut"),
    [
        (EBML + SEGMENT + b"\x88" + bytes(8), False),
        (EBML + SEGMENT + b"\x88" + bytes(7), True),
        (LONG_EBML + SEGMENT + b"\x88" + bytes(7), True),
        (EBML + SEGMENT + b"\x01" + 6 * b"\xff" + b"\xfe", True),
        (EBML + SEGMENT + b"\x01" + 7 * b"\xff" + bytes(7), False),
        (EBML + SEGMENT + b"\xff", False),
        (EBML + SEGMENT, False),
        (EBML + VOID + b"\x88" + bytes(7), False),
        (EBML, False),
        (HEADER, False),
        (HEADER + b"\xff" + bytes(9), False),
    ],
    ids=[
        "whole",
        "cut",
        "long header",
        "huge",
        "unknown",
        "unknown, short",
        "no size",
        "no segment",
        "header",
        "name only",
        "header without a size",
    ],
)
def test_matroska(data: bytes, is_cut: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    path.write_bytes(data)
    assert is_cut_off(path) == is_cut


@pytest.mark.parametrize(
    ("rest", "is_cut"),
    [
        (struct.pack(">I4s", 12, b"mdat") + bytes(4), False),
        (struct.pack(">I4s", 12, b"mdat") + bytes(3), True),
        (struct.pack(">I4sQ", 1, b"mdat", 20) + bytes(3), True),
        (struct.pack(">I4sQ", 1, b"mdat", 2**64 - 1), True),
        (struct.pack(">I4s", 0, b"mdat") + bytes(4), False),
        (struct.pack(">I4s", 4, b"mdat") + bytes(4), False),
        (struct.pack(">I4s", 999, b"????") + bytes(4), False),
        (b"\0\0\0", False),
    ],
    ids=["whole", "cut", "64 bits, cut", "huge", "to the end", "too small", "not a box", "a few bytes"],
)
def test_mp4(rest: bytes, is_cut: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(FTYP + rest)
    assert is_cut_off(path) == is_cut
