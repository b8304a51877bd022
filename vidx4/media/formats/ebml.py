"""Elements of EBML, of which Matroska and WebM files consist (RFC 8794).

An element is a name (its ID), the size of its content, and the content, which may be elements again. Name and
size have variable lengths; the leading zero bits of the first byte tell how many bytes follow it.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

HEADER = b"\x1a\x45\xdf\xa3"
"""The name of the element that every file begins with."""
_MAX_NAME, _MAX_SIZE = 4, 8
"""The most bytes of a name and of a size, unless a file says otherwise (RFC 8794, 11.2.4 and 11.2.5)."""


class Header(NamedTuple):
    """What precedes the content of an element."""

    name: bytes
    size: int | None
    """Bytes of the content; None if the element says that its size is unknown (RFC 8794, 6.2)."""
    width: int
    """Bytes that the size is stored in."""


@dataclass(frozen=True)
class Element:
    """An element and its content; `bytes()` gives it as it is stored."""

    name: bytes
    content: bytes
    width: int = 1
    """Bytes that the size is stored in; more are used if it needs more."""
    start: int = 0
    """The place of its first byte in the data it was read from."""

    @property
    def body(self) -> int:
        """The place of the first byte of the content."""
        return self.start + len(self.name) + self.width

    @property
    def stop(self) -> int:
        """The place after the last byte of the content."""
        return self.body + len(self.content)

    def children(self) -> Iterator["Element"]:
        """Yield the elements that the content consists of.

        Raises:
            ValueError: it consists of something else.
        """
        return read_elements(self.content, self.body)

    def __bytes__(self) -> bytes:
        width = self.width
        while len(self.content) >= _unknown(width):
            width += 1
        return self.name + (len(self.content) | 1 << 7 * width).to_bytes(width) + self.content


def read_elements(data: bytes, offset: int = 0) -> Iterator[Element]:
    """Yield the elements that some data consists of; one of unknown size reaches to the end.

    Args:
        data: the content of an element or of a file.
        offset: the place of its first byte, from which those of the elements are counted.

    Raises:
        ValueError: something is not an element, or an element reaches beyond the end.
    """
    place = 0
    while place < len(data):
        name, size, width = _parse(data[place : place + _MAX_NAME + _MAX_SIZE])
        body = place + len(name) + width
        stop = len(data) if size is None else body + size
        if stop > len(data):
            raise ValueError(f"The element {name.hex()} reaches beyond the end.")
        yield Element(name, data[body:stop], width, offset + place)
        place = stop


def find_element(data: bytes, *path: bytes) -> Element:
    """Return the element that a path of names leads to; of several of a name, the first counts.

    Raises:
        ValueError: there is none.
    """
    element = Element(b"", data, width=0)  # all of it
    for name in path:
        found = (each for each in element.children() if each.name == name)
        if (child := next(found, None)) is None:
            raise ValueError(f"There is no element {name.hex()}.")
        element = child
    return element


def enter(file: BinaryIO, *path: bytes) -> int:
    """Move a file to the content of the element that a path of names leads to, and return its size.

    Raises:
        ValueError: there is none, or its size, or that of one before it, is unknown.
    """
    size: int | None = None
    for name in path:
        while (header := read_header(file)).name != name:
            file.seek(_known(header.size), os.SEEK_CUR)
        size = header.size
    return _known(size)


def _known(size: int | None) -> int:
    if size is None:
        raise ValueError("The size of an element is unknown.")
    return size


def read_header(file: BinaryIO) -> Header:
    """Read the name and the size of an element, and leave a file at its content.

    Raises:
        ValueError: there is no element.
    """
    start = file.tell()
    header = _parse(file.read(_MAX_NAME + _MAX_SIZE))
    file.seek(start + len(header.name) + header.width)
    return header


def _parse(data: bytes) -> Header:
    """Return the header of an element that data begins with."""
    name = data[: _width(data[:1], _MAX_NAME)]
    width = _width(data[len(name) : len(name) + 1], _MAX_SIZE)
    stored = data[len(name) : len(name) + width]
    if len(stored) < width:
        raise ValueError("An element is cut off.")
    size = int.from_bytes(stored) & _unknown(width)  # without the bit that marks the width
    return Header(name, None if size == _unknown(width) else size, width)


def _width(first: bytes, most: int) -> int:
    """Return the length of a number by its first byte (RFC 8794, 4.1)."""
    width = 9 - first[0].bit_length() if first else 0
    if not 0 < width <= most:
        raise ValueError("What follows is not an element.")
    return width


def _unknown(width: int) -> int:
    """Return the size that stands for an unknown one: all bits are set."""
    return (1 << 7 * width) - 1
