"""Ways to damage a file: functions that change its bytes at random places."""

import random
from collections.abc import Callable, Iterator
from io import BytesIO
from itertools import pairwise

BLOCK = 2048
"""Bytes of a block at most, and of what counts as the header."""


def flip_bits(data: bytearray, rng: random.Random) -> None:
    """Flip up to a thousand bits."""
    for _ in range(rng.choice((1, 10, 100, 1000))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flip_header(data: bytearray, rng: random.Random) -> None:
    """Replace up to twenty bytes near the start."""
    for _ in range(rng.choice((1, 5, 20))):
        data[rng.randrange(min(len(data), BLOCK))] = rng.randrange(256)


def cut(data: bytearray, rng: random.Random) -> None:
    """Cut the end off."""
    del data[rng.randrange(1, len(data)) :]


def cut_out(data: bytearray, rng: random.Random) -> None:
    """Remove a piece from the middle."""
    start = rng.randrange(len(data))
    del data[start : start + rng.randrange(1, 4 * BLOCK)]


def zero_blocks(data: bytearray, rng: random.Random) -> None:
    """Fill some blocks with zeros."""
    for block in _blocks(data, rng):
        data[block] = bytes(len(data[block]))


def random_blocks(data: bytearray, rng: random.Random) -> None:
    """Fill some blocks with random bytes."""
    for block in _blocks(data, rng):
        data[block] = rng.randbytes(len(data[block]))


def swap_blocks(data: bytearray, rng: random.Random) -> None:
    """Exchange blocks."""
    first, *others = _blocks(data, rng)
    for other in others:
        length = min(len(data[first]), len(data[other]))
        a, b = (slice(each.start, each.start + length) for each in (first, other))
        data[a], data[b] = data[b], data[a]


def shuffle_packets(data: bytearray, rng: random.Random) -> None:
    """Shuffle a run of packets."""
    places = _packet_places(bytes(data))
    first = rng.randrange(len(places) - 1)
    places = places[first : first + rng.randrange(3, 12)]
    pieces = [bytes(data[start:stop]) for start, stop in pairwise(places)]
    data[places[0] : places[-1]] = b"".join(rng.sample(pieces, len(pieces)))


def _packet_places(data: bytes) -> list[int]:
    """Return the offsets of packets, and of the end."""
    import av

    with av.open(BytesIO(data), "r") as container:
        places = {packet.pos for packet in container.demux() if packet.pos is not None and packet.pos >= 0}
    return [*sorted(places), len(data)]


def repeat_block(data: bytearray, rng: random.Random) -> None:
    """Repeat a block."""
    block = next(_blocks(data, rng))
    data[block.stop : block.stop] = data[block]


def add_garbage(data: bytearray, rng: random.Random) -> None:
    """Add random bytes at the start or at the end."""
    place = rng.choice((0, len(data)))
    data[place:place] = rng.randbytes(rng.randrange(1, BLOCK))


def _blocks(data: bytearray, rng: random.Random) -> Iterator[slice]:
    for _ in range(rng.randrange(2, 12)):
        start = rng.randrange(len(data))
        yield slice(start, min(len(data), start + rng.randrange(16, BLOCK)))


MUTATIONS: dict[str, Callable[[bytearray, random.Random], None]] = {
    mutation.__name__.replace("_", " "): mutation
    for mutation in (
        *(flip_bits, flip_header, cut, cut_out, zero_blocks),
        *(random_blocks, swap_blocks, shuffle_packets, repeat_block, add_garbage),
    )
}
