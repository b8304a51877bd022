"""How a picture is shown, as Matroska and WebM files state it, as far as PyAV can't set or read it.

PyAV can't set the shape of pixels. So the name of the video track is made longer than needed, and when
the file is complete, the room becomes the size at which the picture is shown.

Elements are those of RFC 9559, section 5.1.
"""

import zlib
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

from av.video.stream import VideoStream

from vidx4.appearance import Margins
from vidx4.media.formats.ebml import Element, enter, find_element, read_elements

SEGMENT, TRACKS, TRACK = (bytes.fromhex(name) for name in ("18538067", "1654ae6b", "ae"))
_NAME, _VIDEO, _PIXEL_WIDTH, _PIXEL_HEIGHT = (bytes.fromhex(name) for name in ("536e", "e0", "b0", "ba"))
_DISPLAY = _DISPLAY_WIDTH, _DISPLAY_HEIGHT, _ = tuple(
    bytes.fromhex(name) for name in ("54b0", "54ba", "54b2")
)
"""The last one is the unit of the others; without it they are pixels."""
_PIXEL_CROPS = tuple(bytes.fromhex(name) for name in ("54cc", "54bb", "54dd", "54aa"))
"""Pixels to hide at the left, top, right and bottom."""
VOID, _CRC = b"\xec", b"\xbf"
"""Elements that may be anywhere: padding, and a checksum (RFC 8794, 11.3)."""
_ROOM = " " * 40
"""More than the elements of both numbers take, even if sizes around them get longer."""
_MAX_RATIO = 255
"""The largest term of a shape that FFmpeg reads from these containers unchanged."""


def holds_shape(ratio: Fraction) -> bool:
    """Return whether a shape, the width of a pixel over its height, survives writing and reading."""
    return max(ratio.numerator, ratio.denominator) <= _MAX_RATIO


def leave_room(video: VideoStream) -> None:
    """Prepare a stream of an output for `write_shape`."""
    video.metadata["title"] = video.metadata.get("title", "") + _ROOM


def write_shape(path: Path, ratio: Fraction) -> None:
    """Write the shape of pixels into the video track that `leave_room` was called for.

    Args:
        path: a file as FFmpeg writes it.
        ratio: the width of a pixel over its height.
    """
    with path.open("r+b") as file:
        length = enter(file, SEGMENT, TRACKS)
        place = file.tell()
        tracks = [_with_shape(each, ratio) for each in read_elements(file.read(length))]
        file.seek(place)
        file.write(_joined(_with_checksum(tracks)))


def read_margins(mkv: bytes) -> Margins:
    """Return what players hide at the edges of the picture of a file's first track.

    Raises:
        ValueError: the file is not of Matroska, or its first track is not a video.
    """
    return _margins(_numbers(find_element(mkv, SEGMENT, TRACKS, TRACK, _VIDEO).children()))


def _numbers(elements: Iterable[Element]) -> dict[bytes, int]:
    return {each.name: int.from_bytes(each.content) for each in elements}


def _margins(numbers: dict[bytes, int]) -> Margins:
    return Margins(*(numbers.get(name, 0) for name in _PIXEL_CROPS))


def _number(name: bytes, value: int) -> Element:
    return Element(name, value.to_bytes(4))


def _joined(elements: Iterable[Element]) -> bytes:
    return b"".join(map(bytes, elements))


def _with_shape(track: Element, ratio: Fraction) -> Element:
    """Return a track with the shape and of the same length; any other track, without room, as it is."""
    parts = list(track.children()) if track.name == TRACK else []
    name = next((part.content for part in parts if part.name == _NAME), b"")
    if not name.endswith(_ROOM.encode()):
        return track
    kept = _joined(_changed(part, ratio) for part in parts if part.content != _ROOM.encode())
    filler = Element(VOID, bytes(len(track.content) - len(kept) - 2))
    return Element(TRACK, kept + bytes(filler), track.width)


def _changed(part: Element, ratio: Fraction) -> Element:
    """Return a part of a track without the room, and with the shape."""
    if part.name == _NAME:
        return Element(_NAME, part.content.removesuffix(_ROOM.encode()), part.width)
    if part.name == _VIDEO:
        return Element(_VIDEO, _joined(_shown(part, ratio)), part.width)
    return part


def _shown(video: Element, ratio: Fraction) -> Iterator[Element]:
    """Yield the description of a picture, with the size at which it is shown."""
    stated = list(video.children())
    numbers = _numbers(stated)
    margins = _margins(numbers)  # the displayed size is that of the picture without them (RFC 9559, 11.1)
    width = numbers[_PIXEL_WIDTH] - margins.left - margins.right
    height = numbers[_PIXEL_HEIGHT] - margins.top - margins.bottom
    yield from (each for each in stated if each.name not in _DISPLAY)
    across, down = _size(width, height, ratio)
    yield _number(_DISPLAY_WIDTH, across)
    yield _number(_DISPLAY_HEIGHT, down)


def _size(width: int, height: int, ratio: Fraction) -> tuple[int, int]:
    """Return integers of exactly the wanted shape, as near to the stored size as possible."""
    if (width * ratio).denominator == 1:
        return int(width * ratio), height
    if (height / ratio).denominator == 1:
        return width, int(height / ratio)
    return width * ratio.numerator, height * ratio.denominator


def _with_checksum(elements: list[Element]) -> list[Element]:
    """Return elements with their checksum renewed, if the first of them is one (RFC 8794, 11.3.1)."""
    if elements[0].name != _CRC:
        return elements
    checksum = zlib.crc32(_joined(elements[1:]))
    return [Element(_CRC, checksum.to_bytes(4, "little"), elements[0].width), *elements[1:]]
