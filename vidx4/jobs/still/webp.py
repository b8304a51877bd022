"""How many images a WebP file holds, without decoding any (RFC 9649)."""

import struct

from vidx4.jobs.still.metered import MeteredFile

_FLAGS, _ANIMATED = 20, 2
"""Offset of the flags of an extended file, and the flag of an animation."""
_FIRST_CHUNK = 12
_MAX_CHUNKS = 10_000


def is_webp(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of a WebP."""
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def num_images(file: MeteredFile) -> int:
    """Return how many images a WebP file holds: 0, 1, or 2 for more."""
    file.seek(0)
    head = file.read(_FLAGS + 1)
    if head[_FIRST_CHUNK : _FIRST_CHUNK + 4] != b"VP8X" or not head[_FLAGS:] or not head[_FLAGS] & _ANIMATED:
        return 1
    num_frames, place = 0, _FIRST_CHUNK
    for _ in range(_MAX_CHUNKS):
        file.seek(place)
        header = file.read(8)
        if len(header) < 8 or num_frames == 2:
            break
        name, size = struct.unpack("<4sI", header)
        num_frames += name == b"ANMF"
        place += 8 + size + size % 2
    return num_frames
