"""What Matroska and WebM say of how a picture is shown, where PyAV can't tell FFmpeg.

For the shape of pixels, the name of the video track leaves room; when the file is whole, that becomes the
size at which the picture is shown. Elements are those of RFC 8794 (EBML) and RFC 9559 (Matroska).
"""

import zlib
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

from av.video.stream import VideoStream

from vidx4.media.formats.ebml import Element, enter, find_element, read_elements
from vidx4.video import Margins

SEGMENT, TRACKS, TRACK = (bytes.fromhex(name) for name in ("18538067", "1654ae6b", "ae"))
_NAME, _VIDEO, _PIXEL_WIDTH, _PIXEL_HEIGHT = (bytes.fromhex(name) for name in ("536e", "e0", "b0", "ba"))
_DISPLAY = _DISPLAY_WIDTH, _DISPLAY_HEIGHT, _ = tuple(
    bytes.fromhex(name) for name in ("54b0", "54ba", "54b2")
)
"""The last one is the unit of the others, pixels where it is not there."""
_PIXEL_CROPS = tuple(bytes.fromhex(name) for name in ("54cc", "54bb", "54dd", "54aa"))
"""Left, top, right, bottom."""
VOID, _CRC = b"\xec", b"\xbf"
_ROOM = " " * 40
"""More than both numbers take, and larger sizes of what they are in."""
_MAX_RATIO = 255
"""The largest number of a shape that FFmpeg reads from these containers."""


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
    """Return a track that tells the shape, as long as before; another one, or one without room, as it is."""
    parts = list(track.children()) if track.name == TRACK else []
    name = next((part.content for part in parts if part.name == _NAME), b"")
    if not name.endswith(_ROOM.encode()):
        return track
    kept = _joined(_changed(part, ratio) for part in parts if part.content != _ROOM.encode())
    filler = Element(VOID, bytes(len(track.content) - len(kept) - 2))
    return Element(TRACK, kept + bytes(filler), track.width)


def _changed(part: Element, ratio: Fraction) -> Element:
    """Return a part of a track as it is when its room is used."""
    if part.name == _NAME:
        return Element(_NAME, part.content.removesuffix(_ROOM.encode()), part.width)
    if part.name == _VIDEO:
        return Element(_VIDEO, _joined(_shown(part, ratio)), part.width)
    return part


def _shown(video: Element, ratio: Fraction) -> Iterator[Element]:
    """Yield what a video track says of its picture, with the size at which that is shown."""
    told = list(video.children())
    numbers = _numbers(told)
    margins = _margins(numbers)  # the size is that of what is shown
    width = numbers[_PIXEL_WIDTH] - margins.left - margins.right
    height = numbers[_PIXEL_HEIGHT] - margins.top - margins.bottom
    yield from (each for each in told if each.name not in _DISPLAY)
    across, down = _size(width, height, ratio)
    yield _number(_DISPLAY_WIDTH, across)
    yield _number(_DISPLAY_HEIGHT, down)


def _size(width: int, height: int, ratio: Fraction) -> tuple[int, int]:
    """Return whole numbers of exactly the wanted shape: those nearest to the stored size."""
    if (width * ratio).denominator == 1:
        return int(width * ratio), height
    if (height / ratio).denominator == 1:
        return width, int(height / ratio)
    return width * ratio.numerator, height * ratio.denominator


def _with_checksum(elements: list[Element]) -> list[Element]:
    """Return elements, of which the first may be a checksum of the others (RFC 8794, 11.3.1), with that."""
    if elements[0].name != _CRC:
        return elements
    checksum = zlib.crc32(_joined(elements[1:]))
    return [Element(_CRC, checksum.to_bytes(4, "little"), elements[0].width), *elements[1:]]
