"""Closed captions in AV1: metadata among the open bitstream units (OBU) of a frame.

A packet is a temporal unit: frames that are only referred to, then one that is shown (AV1 specification,
chapter 7.5).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from vidx4.media.formats.cc_data import pack, unpack

_FRAME_HEADER, _METADATA, _FRAME = 3, 5, 6
"""Types of units. A frame is one unit, or its header and then its tiles."""
_HAS_EXTENSION, _HAS_SIZE = 4, 2
"""Bits of a unit's first byte."""
_REGISTERED = b"\4"
"""Type of metadata registered by ITU-T T.35."""
_STOP_BIT = b"\x80"


@dataclass(frozen=True)
class _Unit:
    kind: int
    start: int
    """The place of its first byte."""
    body: int
    """The place of its content."""
    stop: int


def add_captions(packet: bytes, triplets: bytes) -> bytes:
    """Return a packet with captions before the frame that it shows, which is its last.

    Raises:
        ValueError: the packet holds no frame.
    """
    starts = [unit.start for unit in _units(packet) if unit.kind in (_FRAME_HEADER, _FRAME)]
    if not starts:
        raise ValueError("The packet holds no frame.")
    contents = (_REGISTERED + message + _STOP_BIT for message in pack(triplets))
    units = (bytes([_METADATA << 3 | _HAS_SIZE, len(each)]) + each for each in contents)
    return packet[: starts[-1]] + b"".join(units) + packet[starts[-1] :]


def captions_in(packet: bytes) -> bytes:
    """Return the triplets of the captions in a packet; empty if it has none."""
    contents = (packet[unit.body : unit.stop] for unit in _units(packet) if unit.kind == _METADATA)
    return b"".join(unpack(content[1:]) for content in contents if content.startswith(_REGISTERED))


def _units(packet: bytes) -> Iterator[_Unit]:
    start = 0
    while start < len(packet):
        header = packet[start]
        body = start + (2 if header & _HAS_EXTENSION else 1)
        stop = len(packet)
        if header & _HAS_SIZE:
            size, body = _number(packet, body)
            stop = body + size
        yield _Unit(header >> 3 & 15, start, body, stop)
        start = stop


def _number(packet: bytes, place: int) -> tuple[int, int]:
    """Return a number in groups of seven bits, the lowest first (LEB128), and the place after it."""
    number = shift = 0
    while place < len(packet):
        number |= (packet[place] & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if not packet[place - 1] & 0x80:
            break
    return number, place
