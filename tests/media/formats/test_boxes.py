"""Boxes of MP4, of good files and of hostile ones."""

import struct
from io import BytesIO

import pytest

from tests.conftest import MakeVideo
from vidx4.media.formats.boxes import Box, add_to_sample_entry, find_sample_entry, read_boxes

PATH = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")


def box(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def large(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4sQ", 1, kind, 16 + len(content)) + content


def boxes(data: bytes) -> list[Box]:
    return list(read_boxes(BytesIO(data), 0, len(data)))


def track(entry: bytes) -> bytes:
    data = struct.pack(">II", 0, 1) + entry
    for kind in reversed(PATH):
        data = box(kind, data)
    return data


def test_places_and_kinds() -> None:
    data = box(b"ftyp", b"isom") + large(b"mdat", b"frames") + box(b"free")
    found = boxes(data)
    assert [(each.kind, data[each.body : each.stop]) for each in found] == [
        (b"ftyp", b"isom"),
        (b"mdat", b"frames"),
        (b"free", b""),
    ]
    assert [each.start for each in found] == [0, 12, 34]


def test_the_last_one_may_reach_to_the_end() -> None:
    data = box(b"ftyp") + struct.pack(">I4s", 0, b"mdat") + b"frames"
    assert boxes(data)[-1] == Box(b"mdat", 8, 16, len(data))


@pytest.mark.parametrize("size", [10**6, 2**32 - 1])
def test_a_size_beyond_the_end_is_returned(size: int) -> None:
    assert [each.stop for each in boxes(struct.pack(">I4s", size, b"mdat"))] == [size]
    huge = struct.pack(">I4sQ", 1, b"mdat", 2**64 - 1)
    assert [each.stop for each in boxes(huge)] == [2**64 - 1]


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        bytes(4),
        struct.pack(">I4s", 7, b"free"),
        struct.pack(">I4s", 2, b"free"),
        struct.pack(">I4s", 1, b"mdat"),
        struct.pack(">I4sI", 1, b"mdat", 0),
        struct.pack(">I4sQ", 1, b"mdat", 0),
        struct.pack(">I4sQ", 1, b"mdat", 15),
    ],
    ids=["nothing", "four bytes", "7", "2", "no size", "half a size", "64 bits: 0", "64 bits: 15"],
)
def test_it_ends_where_no_box_can_be(rest: bytes) -> None:
    assert [each.kind for each in boxes(box(b"ftyp") + rest)] == [b"ftyp"]


def test_many_empty_boxes() -> None:
    assert len(boxes(10_000 * box(b"free"))) == 10_000


def test_a_sample_entry_grows_with_all_around_it() -> None:
    plain = box(b"ftyp") + track(box(b"avc1", b"entry"))
    added = add_to_sample_entry(plain, box(b"clap", b"margins"))
    assert added == box(b"ftyp") + track(box(b"avc1", b"entry" + box(b"clap", b"margins")))
    assert [each.kind for each in find_sample_entry(added)] == [*PATH, b"avc1"]


def test_the_sample_entry_of_a_file(make_video: MakeVideo) -> None:
    data = make_video(num_frames=2).read_bytes()
    *_, entry = find_sample_entry(data)
    assert entry.kind == b"avc1"
    inside = read_boxes(BytesIO(data), entry.body + 78, entry.stop)
    assert b"avcC" in [each.kind for each in inside]


@pytest.mark.parametrize("kind", PATH)
def test_a_track_without_a_sample_entry(kind: bytes) -> None:
    whole = track(box(b"avc1"))
    for broken in (
        whole.replace(kind, b"free"),
        whole.replace(struct.pack(">I", 16 + 8) + b"stsd", struct.pack(">I", 999) + b"stsd"),
        track(b""),
        track(struct.pack(">I4s", 500, b"avc1")),
    ):
        with pytest.raises(ValueError, match="box"):
            find_sample_entry(broken)


def test_deep_nesting_costs_no_stack() -> None:
    data = b""
    for _ in range(3000):
        data = box(b"moov", data)
    with pytest.raises(ValueError, match="trak"):
        find_sample_entry(data)
