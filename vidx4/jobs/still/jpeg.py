"""How many scans a JPEG file has, before it is decoded (ITU-T T.81, annex B)."""

import re
from collections.abc import Iterator
from io import BufferedReader

MAX_SCANS = 200
"""Most scans of a picture: each goes through all of it. Encoders make about ten."""
_MAX_MARKERS = 500_000
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])", re.DOTALL)
"""A marker, other than those within the pixels of a scan."""
_SCAN, _END = 0xDA, 0xD9
_ALONE = (0x01, 0xD8)
"""Markers that no length follows."""
_WINDOW = 1 << 16


def check_scans(file: BufferedReader) -> None:
    """Check that a JPEG file has no more scans than an encoder makes.

    Raises:
        ValueError: it has.
        OSError: it can't be read.
    """
    num_scans = 0
    for count, marker in enumerate(_markers(file)):
        num_scans += marker == _SCAN
        if num_scans > MAX_SCANS or count == _MAX_MARKERS:
            raise ValueError(f"it is divided into more than {MAX_SCANS} scans")


def _markers(file: BufferedReader) -> Iterator[int]:
    """Yield the markers of a JPEG file until its end, without those of thumbnails in its segments."""
    place = 2
    while len(window := _read(file, place)) >= 4:
        offset = 0
        while (found := _MARKER.search(window, offset)) and found.end() + 2 <= len(window):
            marker = found[1][0]
            if marker == _END:
                return
            yield marker
            length = int.from_bytes(window[found.end() : found.end() + 2], "big")
            offset = found.end() + (0 if marker in _ALONE else length)
        # The last byte may begin a marker.
        place += found.start() if found else max(offset, len(window) - 1)


def _read(file: BufferedReader, place: int) -> bytes:
    file.seek(place)
    return file.read(_WINDOW)
