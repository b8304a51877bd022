"""What Matroska and WebM say of how a picture is shown, where PyAV can't tell FFmpeg.

For the shape of pixels, the name of the video track leaves room; when the file is whole, that becomes the
size at which the picture is shown. Elements are those of RFC 8794 (EBML) and RFC 9559 (Matroska).
"""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Self

from av.video.stream import VideoStream

from vidx4.video import Margins

_SEGMENT, _TRACKS, _TRACK = (bytes.fromhex(name) for name in ("18538067", "1654ae6b", "ae"))
_NAME, _VIDEO, _PIXEL_WIDTH, _PIXEL_HEIGHT = (bytes.fromhex(name) for name in ("536e", "e0", "b0", "ba"))
_DISPLAY = _DISPLAY_WIDTH, _DISPLAY_HEIGHT, _ = tuple(
    bytes.fromhex(name) for name in ("54b0", "54ba", "54b2")
)
"""The last one is the unit of the others, pixels where it is not there."""
_PIXEL_CROPS = tuple(bytes.fromhex(name) for name in ("54cc", "54bb", "54dd", "54aa"))
"""Left, top, right, bottom."""
_CRC, _VOID = b"\xbf", b"\xec"
_ROOM = " " * 40
"""More than both numbers take, and larger sizes of what they are in."""
_MAX_RATIO = 255
"""The largest number of a shape that FFmpeg reads from these containers."""
_MAX_HEADER = 12
"""Bytes of the name and the size of an element."""


def holds_shape(ratio: Fraction) -> bool:
    """Return whether the width of a pixel over its height is read again as it is written."""
    return max(ratio.numerator, ratio.denominator) <= _MAX_RATIO


def leave_room(video: VideoStream) -> None:
    """Prepare a stream of an output for `write_shape`."""
    video.metadata["title"] = video.metadata.get("title", "") + _ROOM


def write_shape(path: Path, ratio: Fraction) -> None:
    """Write the shape of the pixels of the first video track for which room was left.

    Args:
        path: a file as FFmpeg writes it.
        ratio: width of a pixel over its height.
    """
    with path.open("r+b") as file:
        _enter(file, _SEGMENT)
        length = _enter(file, _TRACKS)
        place = file.tell()
        tracks = [_with_shape(each, ratio) for each in _Element.all_of(file.read(length))]
        file.seek(place)
        file.write(_joined(_with_checksum(tracks)))


def read_margins(file: BinaryIO) -> Margins:
    """Return what is left away around the picture of the first video track of a file."""
    _enter(file, _SEGMENT)
    tracks = _Element.all_of(file.read(_enter(file, _TRACKS)))
    parts = (part for track in tracks if track.name == _TRACK for part in _Element.all_of(track.content))
    video = next(part for part in parts if part.name == _VIDEO)
    return _margins(_numbers(_Element.all_of(video.content)))


def _numbers(elements: Iterable["_Element"]) -> dict[bytes, int]:
    return {each.name: int.from_bytes(each.content) for each in elements}


def _margins(numbers: dict[bytes, int]) -> Margins:
    return Margins(*(numbers.get(name, 0) for name in _PIXEL_CROPS))


def _enter(file: BinaryIO, name: bytes) -> int:
    """Go to the content of the next element of a name, and return its length."""
    while head := file.read(_MAX_HEADER):
        found, length, size = _header(head, 0)
        file.seek(size - len(head), 1)
        if found == name:
            return length
        file.seek(length, 1)
    raise ValueError(f"There is no element {name.hex()}.")


def _header(data: bytes, place: int) -> tuple[bytes, int, int]:
    """Return the name of an element, the length of its content, and that of both together."""
    width = 9 - data[place].bit_length()
    name = data[place : place + width]
    start = place + width
    size_width = 9 - data[start].bit_length()
    number = int.from_bytes(data[start : start + size_width]) & ((1 << 7 * size_width) - 1)
    return name, number, width + size_width


@dataclass(frozen=True)
class _Element:
    name: bytes
    content: bytes
    width: int = 1
    """Bytes that tell the length of the content."""

    @classmethod
    def all_of(cls, data: bytes) -> Iterator[Self]:
        """Yield the elements that some data consists of."""
        place = 0
        while place < len(data):
            name, length, size = _header(data, place)
            place += size
            yield cls(name, data[place : place + length], size - len(name))
            place += length

    @classmethod
    def number(cls, name: bytes, value: int) -> Self:
        """Return an element that holds a number."""
        return cls(name, value.to_bytes(4))

    def __bytes__(self) -> bytes:
        width = self.width
        while len(self.content) >= (1 << 7 * width) - 1:  # all bits set stands for an unknown length
            width += 1
        length = len(self.content) | 1 << 7 * width
        return self.name + length.to_bytes(width) + self.content


def _joined(elements: Iterable[_Element]) -> bytes:
    return b"".join(map(bytes, elements))


def _with_shape(track: _Element, ratio: Fraction) -> _Element:
    """Return a track that tells the shape, as long as before; another one, or one without room, as it is."""
    parts = list(_Element.all_of(track.content)) if track.name == _TRACK else []
    name = next((part.content for part in parts if part.name == _NAME), b"")
    if not name.endswith(_ROOM.encode()):
        return track
    kept = _joined(_changed(part, ratio) for part in parts if part.content != _ROOM.encode())
    filler = _Element(_VOID, bytes(len(track.content) - len(kept) - 2))
    return _Element(_TRACK, kept + bytes(filler), track.width)


def _changed(part: _Element, ratio: Fraction) -> _Element:
    """Return a part of a track as it is when its room is used."""
    if part.name == _NAME:
        return _Element(_NAME, part.content.removesuffix(_ROOM.encode()), part.width)
    if part.name == _VIDEO:
        return _Element(_VIDEO, _joined(_shown(part, ratio)), part.width)
    return part


def _shown(video: _Element, ratio: Fraction) -> Iterator[_Element]:
    """Yield what a video track says of its picture, with the size at which that is shown."""
    told = list(_Element.all_of(video.content))
    numbers = _numbers(told)
    margins = _margins(numbers)  # the size is that of what is shown
    width = numbers[_PIXEL_WIDTH] - margins.left - margins.right
    height = numbers[_PIXEL_HEIGHT] - margins.top - margins.bottom
    yield from (each for each in told if each.name not in _DISPLAY)
    across, down = _size(width, height, ratio)
    yield _Element.number(_DISPLAY_WIDTH, across)
    yield _Element.number(_DISPLAY_HEIGHT, down)


def _size(width: int, height: int, ratio: Fraction) -> tuple[int, int]:
    """Return whole numbers of exactly the wanted shape: those nearest to the stored size."""
    if (width * ratio).denominator == 1:
        return int(width * ratio), height
    if (height / ratio).denominator == 1:
        return width, int(height / ratio)
    return width * ratio.numerator, height * ratio.denominator


def _with_checksum(elements: list[_Element]) -> list[_Element]:
    """Return elements, of which the first may be a checksum of the others (RFC 8794, 11.3.1), with that."""
    if elements[0].name != _CRC:
        return elements
    checksum = zlib.crc32(_joined(elements[1:]))
    return [_Element(_CRC, checksum.to_bytes(4, "little"), elements[0].width), *elements[1:]]
