"""Closed captions in the bitstream of H.264 and HEVC: messages of supplemental enhancement information (SEI).

A stream is a sequence of NAL units. In MPEG-TS and in the parts of a job each follows a start code (Annex B);
in MP4 and Matroska, its length. A message of ITU-T T.35 that precedes the slices of a frame holds its
captions (ATSC A/53 part 4, 6.2.3): up to 31 triplets of a kind and two bytes (CTA-708).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

TRIPLET = 3
"""Bytes of a caption's unit: its kind, and two bytes of data."""
MAX_TRIPLETS = 31
"""The most triplets in one message, and so with one frame."""
_START_CODE = b"\0\0\1"
_REGISTERED = 4
"""Type of a message registered by ITU-T T.35."""
_ATSC_CAPTIONS = b"\xb5\0\x31GA94\3"
"""Country (USA), provider (ATSC), format and type of a message with captions."""
_HAS_TRIPLETS, _COUNT = 0x40, 0x1F
"""Bits of the byte before the triplets: whether they count, and their number."""
_RESERVED, _END = b"\xff", b"\xff"
"""Bytes before and after the triplets."""
_STOP_BIT = b"\x80"
"""The end of a NAL unit's payload."""
_BIT_PATTERNS = re.compile(rb"\0\0(?=[\0-\3])")
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
CAPTIONED = frozenset(_SYNTAX)
"""Codecs that hold captions in this form."""
_MARKS: dict[str, tuple[bytes, ...]] = {
    **dict.fromkeys(("h264", "hevc", "av1"), (_ATSC_CAPTIONS,)),
    **dict.fromkeys(
        ("mpeg1video", "mpeg2video"),
        tuple(
            b"\0\0\1\xb2" + data
            for data in (b"GA94\3", b"CC\1\xf8", b"\3\1", b"\3\x81", b"\5\2")  # ATSC, DVD, SCTE-20, Dish
        ),
    ),
}
"""Bytes with which captions begin, by codec; in MPEG, after the start code of user data."""


def with_captions(packet: bytes, triplets: bytes, codec: str) -> bytes:
    """Return the packet of a frame with captions before its first slice.

    Args:
        packet: NAL units with start codes.
        triplets: the captions; more than `MAX_TRIPLETS` are written as several messages.
        codec: the name of the codec, one of `CAPTIONED`.

    Raises:
        ValueError: the packet holds no slice.
    """
    syntax = _SYNTAX[codec]
    for start, _ in _units_by_start_codes(packet):
        if syntax.type_of(packet[start]) in syntax.slices:
            # HEVC's second byte is the temporal layer, which is that of the frame.
            header = bytes([syntax.message << syntax.shift]) + packet[start + 1 : start + syntax.header]
            place = len(packet[: start - len(_START_CODE)].rstrip(b"\0"))
            unit = b"\0" + _START_CODE + header + _escaped(_messages(triplets) + _STOP_BIT)
            return packet[:place] + unit + packet[place:]
    raise ValueError("The packet holds no slice.")


def _messages(triplets: bytes) -> bytes:
    size = TRIPLET * MAX_TRIPLETS
    return b"".join(_message(triplets[start : start + size]) for start in range(0, len(triplets), size))


def _message(triplets: bytes) -> bytes:
    """Return a message, which is shorter than the 255 bytes from which sizes take several bytes."""
    counted = bytes([_HAS_TRIPLETS | len(triplets) // TRIPLET]) + _RESERVED + triplets
    payload = _ATSC_CAPTIONS + counted + _END
    return bytes([_REGISTERED, len(payload)]) + payload


def _escaped(payload: bytes) -> bytes:
    return _BIT_PATTERNS.sub(b"\0\0\3", payload)


def captions_in(packet: bytes, codec: str, description: bytes) -> bytes:
    """Return the triplets of a frame's captions; empty if it has none.

    Args:
        packet: the frame, with its NAL units as the container stores them.
        codec: the name of the codec, one of `CAPTIONED`.
        description: the codec's description in the container (`extradata`), which tells how units are stored.
    """
    syntax, found = _SYNTAX[codec], b""
    for start, stop in _units(packet, syntax, description):
        kind = syntax.type_of(packet[start])
        if kind in syntax.slices:
            break
        if kind == syntax.message:
            unit = packet[start + syntax.header : stop].replace(b"\0\0\3", b"\0\0")
            found += b"".join(map(_triplets, _payloads(unit)))
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


def _payloads(unit: bytes) -> Iterator[bytes]:
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


def _triplets(payload: bytes) -> bytes:
    start = len(_ATSC_CAPTIONS)
    if not payload.startswith(_ATSC_CAPTIONS) or len(payload) <= start or not payload[start] & _HAS_TRIPLETS:
        return b""
    first = start + 1 + len(_RESERVED)
    return payload[first : first + TRIPLET * (payload[start] & _COUNT)]


def caption_marks(codec: str) -> tuple[bytes, ...]:
    """Return bytes with which captions begin in packets of a codec; none if FFmpeg finds none there."""
    return _MARKS.get(codec, ())
