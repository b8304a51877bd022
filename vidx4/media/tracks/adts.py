"""The header before each frame of AAC in MPEG-TS (ADTS, ISO/IEC 13818-7, 6.2); others lack it."""

_HEADER, _CRC = 7, 2
"""Bytes of a header, and of the checksum that may follow."""
_SYNC, _MASK = 0xFFF0, 0xFFF6
"""The first two bytes of a header, and the bits of them that are fixed."""


def frame_length(payload: bytes) -> int:
    """Return the length of a frame that its header states; 0 if it doesn't begin with one."""
    if len(payload) <= _HEADER or int.from_bytes(payload[:2], "big") & _MASK != _SYNC:
        return 0
    return (payload[3] & 3) << 11 | payload[4] << 3 | payload[5] >> 5


def without_header(payload: bytes) -> bytes:
    """Return a frame without its header; as it is if it has none, or is damaged."""
    if frame_length(payload) != len(payload):
        return payload
    has_crc = not payload[1] & 1
    return payload[_HEADER + _CRC * has_crc :]
