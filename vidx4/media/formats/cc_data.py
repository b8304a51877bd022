"""Closed captions as ATSC packs them for any video codec (A/53 part 4, 6.2.3).

They are triplets of a kind and two bytes (`cc_data` of CTA-708), up to 31 of them in a message of ITU-T T.35.
"""

from collections.abc import Iterator

TRIPLET = 3
"""Bytes of a triplet."""
MAX_TRIPLETS = 31
"""The most triplets in one message, and so with one frame."""
_PREFIX = b"\xb5\0\x31GA94\3"
"""Country (USA), provider (ATSC), format and type of a message with captions."""
_HAS_TRIPLETS, _COUNT = 0x40, 0x1F
"""Bits of the byte after the prefix: whether the triplets count, and their number."""
_RESERVED = _END = b"\xff"
"""Bytes before and after the triplets."""
_MARKS: dict[str, tuple[bytes, ...]] = {
    **dict.fromkeys(("h264", "hevc", "av1"), (_PREFIX,)),
    **dict.fromkeys(
        ("mpeg1video", "mpeg2video"),
        tuple(
            b"\0\0\1\xb2" + data
            for data in (b"GA94\3", b"CC\1\xf8", b"\3\1", b"\3\x81", b"\5\2")  # ATSC, DVD, SCTE-20, Dish
        ),
    ),
}
"""Bytes with which captions begin, by codec; in MPEG, after the start code of user data."""


def caption_marks(codec: str) -> tuple[bytes, ...]:
    """Return bytes with which captions begin in packets of a codec; none if FFmpeg finds none there."""
    return _MARKS.get(codec, ())


def pack(triplets: bytes) -> Iterator[bytes]:
    """Yield messages that hold triplets, each shorter than 128 bytes."""
    size = TRIPLET * MAX_TRIPLETS
    for start in range(0, len(triplets), size):
        held = triplets[start : start + size]
        yield _PREFIX + bytes([_HAS_TRIPLETS | len(held) // TRIPLET]) + _RESERVED + held + _END


def unpack(message: bytes) -> bytes:
    """Return the triplets of a message of ITU-T T.35; empty if it is about something else."""
    place = len(_PREFIX)
    if not message.startswith(_PREFIX) or len(message) <= place or not message[place] & _HAS_TRIPLETS:
        return b""
    start = place + 1 + len(_RESERVED)
    return message[start : start + TRIPLET * (message[place] & _COUNT)]
