"""Elements of EBML, of good files and of hostile ones."""

from io import BytesIO

import pytest

from vidx4.media.formats.ebml import HEADER, Element, enter, find_element, read_elements, read_header

OUTER, INNER, LEAF = b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\xae"


def nested(content: bytes = b"leaf") -> bytes:
    return bytes(Element(OUTER, bytes(Element(INNER, bytes(Element(LEAF, content)), width=8)), width=4))


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 16_382, 16_383, 70_000])
@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_what_is_written_is_read(size: int, width: int) -> None:
    """127 bytes don't fit in a size of one byte: all bits set stand for an unknown size."""
    element = Element(LEAF, bytes(size), width)
    (found,) = read_elements(bytes(element))
    assert (found.name, found.content) == (element.name, element.content)
    assert bytes(found) == bytes(element)
    assert found.width >= width


def test_numbers_of_the_standard() -> None:
    """RFC 8794, 4.4: the number 2 in one to four bytes."""
    for stored in (b"\x82", b"\x40\x02", b"\x20\x00\x02", b"\x10\x00\x00\x02"):
        assert read_header(BytesIO(LEAF + stored)) == (LEAF, 2, len(stored))


def test_places_are_those_of_the_file() -> None:
    data = b"\xec\x80" + nested()
    leaf = find_element(data, OUTER, INNER, LEAF)
    assert leaf.content == data[leaf.body : leaf.stop] == b"leaf"
    assert data[leaf.start : leaf.stop] == bytes(leaf)


def test_entering_skips_what_comes_before() -> None:
    file = BytesIO(bytes(Element(HEADER, bytes(1000))) + nested())
    assert enter(file, OUTER, INNER, LEAF) == 4
    assert file.read(4) == b"leaf"


@pytest.mark.parametrize("stored", [b"\xff", b"\x7f\xff", b"\x01" + 7 * b"\xff"])
def test_an_unknown_size(stored: bytes) -> None:
    """In memory it reaches to the end; in a file it is an element that can't be skipped."""
    data = OUTER + stored + bytes(Element(LEAF, b"leaf"))
    assert find_element(data, OUTER, LEAF).content == b"leaf"
    assert read_header(BytesIO(data)).size is None
    with pytest.raises(ValueError, match="size"):
        enter(BytesIO(data), LEAF)
    assert enter(BytesIO(data), OUTER, LEAF) == 4


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x00\x80",
        b"\x08\x00\x00\x00\x00\x80",
        LEAF,
        LEAF + b"\x00",
        LEAF + b"\x40",
        OUTER[:2],
        OUTER[:3],
        LEAF + b"\x01" + bytes(3),
    ],
    ids=lambda data: data.hex() or "nothing",
)
def test_what_is_no_header(data: bytes) -> None:
    with pytest.raises(ValueError, match="element"):
        read_header(BytesIO(data))


@pytest.mark.parametrize("size", [b"\x85", b"\x01" + 6 * b"\xff" + b"\xfe"])
def test_a_size_beyond_the_end(size: bytes) -> None:
    with pytest.raises(ValueError, match="ae"):
        list(read_elements(LEAF + size + b"leaf"))
    with pytest.raises(ValueError, match="element"):
        enter(BytesIO(LEAF + size + b"leaf"), OUTER)


def test_what_is_missing() -> None:
    with pytest.raises(ValueError, match="no element"):
        find_element(nested(), OUTER, LEAF, INNER)
    with pytest.raises(ValueError, match="element"):
        enter(BytesIO(nested()), INNER)


def test_deep_nesting_costs_no_stack() -> None:
    depth, data = 3000, b""
    for _ in range(depth):
        data = bytes(Element(LEAF, data))
    assert find_element(data, *depth * [LEAF]).content == b""
    assert enter(BytesIO(data), *depth * [LEAF]) == 0


def test_many_empty_elements() -> None:
    assert sum(1 for _ in read_elements(10_000 * b"\xec\x80")) == 10_000
