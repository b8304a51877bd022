"""How much work a JPEG 2000 file is, before it is decoded (ISO/IEC 15444-1, annexes A, B and I).

A file of a hundred bytes may divide a picture into millions of parts, and OpenJPEG takes memory for each.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from math import ceil, prod

_MAX_COMPONENTS = 4
"""Most channels: RGBA."""
_TILE_PIXELS, _OTHER_TILES = 1 << 10, 1_000
"""Pixels for each of which a tile is allowed, beside some others; tiles are usually of 128x128 or more."""
_PART_PIXELS, _OTHER_PARTS = 1 << 7, 50_000
"""The same for precincts and code blocks; the latter are usually of 32x32 or 64x64."""
_MAX_SEGMENTS = 1_000_000
_CODESTREAM = b"\xff\x4f\xff\x51"
_CODING, _COMPONENT_CODING, _TILE_PART, _PIXELS = 0xFF52, 0xFF53, 0xFF90, 0xFF93
_OTHERS = frozenset({0xFF50, 0xFF51, *range(0xFF55, 0xFF65), *range(0xFF74, 0xFF79)})
"""Markers of further segments; decoders skip what they don't know in ways of their own."""


def check_parts(file: BufferedReader) -> None:
    """Check that a JPEG 2000 file doesn't divide its picture into far more parts than usual.

    Raises:
        ValueError: it does, or is damaged.
        OSError: it can't be read.
    """
    start = _codestream(file) + 2
    file.seek(start + 4)
    area = _Area.parse(file.read(36))
    if area.num_components > _MAX_COMPONENTS:
        raise ValueError(f"it has {area.num_components} channels, and {_MAX_COMPONENTS} are allowed at most")
    _limit("tiles", area.num_tiles, area.num_pixels // _TILE_PIXELS + _OTHER_TILES)
    for style in _styles(file, start):
        # That of one tile or component is judged as if all were such.
        num_parts = area.num_components * area.num_tiles * _num_parts(style, area.tile_size)
        _limit("parts", num_parts, area.num_components * area.num_pixels // _PART_PIXELS + _OTHER_PARTS)


@dataclass(frozen=True)
class _Area:
    """What the first segment says of the size of a picture (A.5.1)."""

    num_components: int
    num_pixels: int
    num_tiles: int
    tile_size: tuple[int, int]
    """Width and height that a tile has at most."""

    @classmethod
    def parse(cls, content: bytes) -> "_Area":
        right, bottom, left, top, *tile, tiles_left, tiles_top, num_components = struct.unpack(
            ">2x8IH", content
        )
        width, height = right - left, bottom - top
        if min(width, height, num_components, *tile) < 1 or tiles_left > left or tiles_top > top:
            raise ValueError("it is damaged")
        num_tiles = ceil((right - tiles_left) / tile[0]) * ceil((bottom - tiles_top) / tile[1])
        return cls(num_components, width * height, num_tiles, (min(tile[0], width), min(tile[1], height)))


@dataclass(frozen=True)
class _Style:
    """How components are divided, as the segments COD and COC say (A.6.1)."""

    num_levels: int
    block: tuple[int, int]
    """Binary logarithms of the width and height of a code block, at most."""
    precincts: bytes
    """Those of precincts at each resolution, in halves of a byte; empty for the largest, 32768x32768."""

    @classmethod
    def parse(cls, style: int, content: bytes) -> "_Style":
        num_levels, width, height = content[:3]
        precincts = content[5 : 6 + num_levels] if style & 1 else b"\xff" * (1 + num_levels)
        if len(precincts) <= num_levels:
            raise ValueError("it is damaged")
        return cls(num_levels, (2 + width, 2 + height), precincts)


def _limit(what: str, number: int, most: int) -> None:
    if number > most:
        raise ValueError(f"it is divided into {number:,} {what}, which is far more than usual")


def _codestream(file: BufferedReader) -> int:
    """Return where the pixels begin: at once, or in the first box `jp2c`."""
    place = 0
    for _ in range(_MAX_SEGMENTS):
        file.seek(place)
        header = file.read(20)
        if header.startswith(_CODESTREAM):
            return place
        if len(header) < 16:
            break
        length, name = struct.unpack_from(">I4s", header)
        head = 16 if length == 1 else 8
        if name == b"jp2c" and header[head:].startswith(_CODESTREAM):
            return place + head
        length = int.from_bytes(header[8:16], "big") if length == 1 else length
        if length < head or name == b"jp2c":
            break
        place += length
    raise ValueError("it is damaged")


def _styles(file: BufferedReader, place: int) -> Iterator[_Style]:
    """Yield how components are divided: in general, some of them, and those of tiles."""
    next_tile_part = 0
    for _ in range(_MAX_SEGMENTS):
        file.seek(place)
        marker, length = int.from_bytes(file.read(2), "big"), int.from_bytes(file.read(2), "big")
        if marker == _PIXELS and next_tile_part > place:
            place = next_tile_part
            continue
        if marker == _TILE_PART:
            next_tile_part = place + int.from_bytes(file.read(6)[2:], "big")
        elif place == next_tile_part or marker == _PIXELS:
            return  # the end
        elif marker == _CODING:
            content = file.read(length)
            yield _Style.parse(content[0], content[5:])
        elif marker == _COMPONENT_CODING:
            content = file.read(length)
            yield _Style.parse(content[1], content[2:])
        elif marker not in _OTHERS:
            break
        place += 2 + length
    raise ValueError("it is damaged")


def _num_parts(style: _Style, size: tuple[int, int]) -> int:
    """Return the number of precincts and code blocks of a tile of one component (B.6, B.7)."""
    total = 0
    for level, exponents in enumerate(style.precincts):
        shown = [ceil(side / 2 ** (style.num_levels - level)) for side in size]
        precinct = exponents & 15, exponents >> 4
        total += prod(ceil(side / 2**each) for side, each in zip(shown, precinct, strict=True))
        # Beyond the smallest resolution, there are three bands of half the size.
        halved = min(level, 1)
        blocks = (min(a, max(b - halved, 0)) for a, b in zip(style.block, precinct, strict=True))
        total += (1 + 2 * halved) * prod(
            ceil(side / 2 ** (halved + each)) for side, each in zip(shown, blocks, strict=True)
        )
    return total
