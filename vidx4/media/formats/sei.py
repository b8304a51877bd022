"""Closed captions in H.264 and HEVC: messages of supplemental enhancement information (SEI).

A stream is a sequence of NAL units. In MPEG-TS and in the parts of a job each follows a start code (Annex B);
in MP4 and Matroska, its length. Messages precede the slices of their frame.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from vidx4.media.formats.cc_data import pack, unpack

_START_CODE = b"\0\0\1"
_REGISTERED = 4
"""Type of a message registered by ITU-T T.35."""
_STOP_BIT = b"\x80"
"""The end of a NAL unit's payload."""
_LIKE_START_CODE = re.compile(rb"\0\0(?=[\0-\3])")
"""Where a byte 3 is inserted, lest a payload look like a start code."""


@dataclass(frozen=True)
class _Syntax:
    """How a codec writes the headers of NAL units."""

    header: int
    """Bytes of a header."""
    shift: int
    """Bits below the type in the first byte."""
    types: int
    """Number of types."""
    message: int
    """Type of a unit with messages that precede the slices."""
    slices: range
    """Types of slices."""
    length_place: int
    """Place in MP4's description of the codec of the byte that ends in the size of lengths, less one."""

    def type_of(self, header: int) -> int:
        return header >> self.shift & self.types - 1


_SYNTAX = {
    "h264": _Syntax(header=1, shift=0, types=32, message=6, slices=range(1, 6), length_place=4),
    "hevc": _Syntax(header=2, shift=1, types=64, message=39, slices=range(32), length_place=21),
}


def add_captions(packet: bytes, triplets: bytes, codec: str) -> bytes:
    """Return the packet of a frame with captions before its first slice.

    Args:
        packet: NAL units with start codes.
        triplets: the captions.
        codec: `h264` or `hevc`.

    Raises:
        ValueError: the packet holds no slice.
    """
    syntax = _SYNTAX[codec]
    for start, _ in _units_by_start_codes(packet):
        if syntax.type_of(packet[start]) in syntax.slices:
            # HEVC's second byte is the temporal layer, which is that of the frame.
            header = bytes([syntax.message << syntax.shift]) + packet[start + 1 : start + syntax.header]
            messages = b"".join(bytes([_REGISTERED, len(each)]) + each for each in pack(triplets))
            unit = b"\0" + _START_CODE + header + _LIKE_START_CODE.sub(b"\0\0\3", messages + _STOP_BIT)
            place = len(packet[: start - len(_START_CODE)].rstrip(b"\0"))
            return packet[:place] + unit + packet[place:]
    raise ValueError("The packet holds no slice.")


def captions_in(packet: bytes, codec: str, description: bytes) -> bytes:
    """Return the triplets of a frame's captions; empty if it has none.

    Args:
        packet: the frame, with its NAL units as the container stores them.
        codec: `h264` or `hevc`.
        description: the codec's description in the container (`extradata`), which tells how units are stored.
    """
    syntax, found = _SYNTAX[codec], b""
    for start, stop in _units(packet, syntax, description):
        kind = syntax.type_of(packet[start])
        if kind in syntax.slices:
            break
        if kind == syntax.message:
            unit = packet[start + syntax.header : stop].replace(b"\0\0\3", b"\0\0")
            found += b"".join(map(unpack, _registered_messages(unit)))
    return found


def _units(packet: bytes, syntax: _Syntax, description: bytes) -> Iterator[tuple[int, int]]:
    """Yield the bounds of the NAL units of a packet."""
    if description[:1] != b"\1":
        return _units_by_start_codes(packet)
    return _units_by_lengths(packet, 1 + (description[syntax.length_place] & 3))


def _units_by_start_codes(packet: bytes) -> Iterator[tuple[int, int]]:
    place = packet.find(_START_CODE)
    while place >= 0 and place + len(_START_CODE) < len(packet):
        start = place + len(_START_CODE)
        place = packet.find(_START_CODE, start)
        yield start, len(packet) if place < 0 else place


def _units_by_lengths(packet: bytes, size: int) -> Iterator[tuple[int, int]]:
    start = size
    while start < len(packet):
        stop = start + int.from_bytes(packet[start - size : start])
        yield start, stop
        start = stop + size


def _registered_messages(unit: bytes) -> Iterator[bytes]:
    """Yield the payloads of the messages of ITU-T T.35 in a NAL unit."""
    place = 0
    while place + 2 < len(unit):  # the stop bit follows the last
        kind, place = _number(unit, place)
        size, place = _number(unit, place)
        if kind == _REGISTERED:
            yield unit[place : place + size]
        place += size


def _number(unit: bytes, place: int) -> tuple[int, int]:
    """Return a number, of which each byte 255 says that another follows, and the place after it."""
    number = 0
    while place < len(unit) and unit[place] == 255:
        number, place = number + 255, place + 1
    return (number + unit[place], place + 1) if place < len(unit) else (number, place)
