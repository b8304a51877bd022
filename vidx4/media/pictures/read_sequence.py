"""Numbered pictures that are a video."""

import logging
import os
import re
import struct
from array import array
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from hashlib import file_digest, sha256
from itertools import pairwise
from pathlib import Path

from av.container import InputContainer

from vidx4.errors import SourceError
from vidx4.media.pictures.animated_webp import decode_webp, is_webp, read_picture
from vidx4.media.pictures.virtual_mov import Timing, Track, open_track

_logger = logging.getLogger(__name__)

DEFAULT_RATE = Fraction(25)
"""Numbered pictures per second where nobody says."""
SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
PATTERN = re.compile(r"%(?:0\d+)?d(?![A-Za-z])")
_LAST_NUMBER = re.compile(r"\d+(?=\D*$)")
_KINDS = {b"\x89PNG": b"png ", b"\xff\xd8\xff": b"jpeg", b"II*\0": b"tiff", b"MM\0*": b"tiff"}
"""How files begin, and what QuickTime calls pictures of their kind."""
_WEBP = b"webp"


@dataclass(frozen=True)
class NumberedPictures:
    """Files of one folder that are the frames of a video, in the order of their numbers."""

    folder: Path
    names: tuple[str, ...]
    numbers: tuple[int, ...]

    def file(self, index: int) -> Path:
        """Return the path of a picture."""
        return self.folder / self.names[index]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is to be said of numbers that are missing: the pictures around them follow one another."""
        gaps = [range(a + 1, b) for a, b in pairwise(self.numbers) if b > a + 1]
        if not gaps:
            return ()
        missing = sum(map(len, gaps))
        what = "1 number is" if missing == 1 else f"{missing} numbers are"
        return (
            f"{what} missing among the pictures of {self.folder}, at first {gaps[0].start}: those that are "
            "there follow one another.",
        )


def is_sequence(path: Path) -> bool:
    """Return whether a path is a folder with numbered pictures or a pattern for them (`img_%04d.png`)."""
    with suppress(OSError):
        if path.is_dir():
            return any(_numbered(name) for name in _visible(path))
        return PATTERN.search(path.name) is not None and not path.exists()
    return False


def find_sequence(path: Path) -> NumberedPictures:
    """Return the pictures that a folder or a pattern stands for.

    In a folder, what counts is the last number of a name; names without one are passed over. A pattern holds
    `%d` or, for numbers that are filled up with zeros, `%04d`.

    Raises:
        SourceError: there are none, they are of more than one series, two have the same number, or the
            folder can't be read.
    """
    folder, pattern = (path, None) if path.is_dir() else (path.parent, path.name)
    series: dict[str, dict[int, str]] = {}
    try:
        for name in _visible(folder):
            if (found := _numbered(name, pattern)) is not None:
                _add(series.setdefault(found[0], {}), found[1], name, folder)
    except OSError as error:
        raise SourceError(f"{folder} can't be read: {error.strerror}.") from error
    if not series:
        raise SourceError(f"{path} stands for no numbered pictures ({', '.join(sorted(SUFFIXES))}).")
    if len(series) > 1:
        raise SourceError(
            f"{path} holds more than one series of pictures ({', '.join(sorted(series)[:3])}): name one by a "
            "pattern, such as img_%04d.png."
        )
    (names,) = series.values()
    return NumberedPictures(folder, tuple(names[number] for number in sorted(names)), tuple(sorted(names)))


def _add(names: dict[int, str], number: int, name: str, folder: Path) -> None:
    if number in names:
        raise SourceError(f"{names[number]} and {name} in {folder} have the same number.")
    names[number] = name


def _visible(folder: Path) -> Iterator[str]:
    return (name for name in all_names(folder) if not name.startswith("."))


def all_names(folder: Path) -> Iterator[str]:
    """Yield the names of what is in a folder."""
    with os.scandir(folder) as entries:
        yield from (entry.name for entry in entries)


def _numbered(name: str, pattern: str | None = None) -> tuple[str, int] | None:
    """Return the series that a file belongs to and its number; None where it is no numbered picture."""
    if pattern is not None:
        return match_number(name, pattern)
    stem, suffix = os.path.splitext(name)  # noqa: PTH122, since a folder may hold 100,000
    number = _LAST_NUMBER.search(stem)
    if number is None or suffix.lower() not in SUFFIXES:
        return None
    return f"{stem[: number.start()]}#{stem[number.end() :]}{suffix.lower()}", int(number[0])


def match_number(name: str, pattern: str) -> tuple[str, int] | None:
    """Return what of a name is not its number, and that, if a pattern such as `img_%04d.png` gives it."""
    place = PATTERN.search(pattern)
    assert place is not None
    before, after = pattern[: place.start()], pattern[place.end() :]
    digits = name[len(before) : len(name) - len(after)]
    is_match = name.startswith(before) and name.endswith(after) and digits.isascii() and digits.isdigit()
    return (pattern, int(digits)) if is_match and place[0] % int(digits) == digits else None


def sequence_digest(path: Path) -> str:
    """Return the SHA-256 of the names, sizes and contents of numbered pictures, in hexadecimal digits.

    Raises:
        SourceError: there are none.
        OSError: one can't be read.
    """
    found, digest = find_sequence(path), sha256()
    for name in found.names:
        with (found.folder / name).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest.update(
                os.fsencode(name) + struct.pack(">BQ", 0, size) + file_digest(file, "sha256").digest()
            )
    return digest.hexdigest()


def open_sequence(path: Path, frame_rate: Fraction = DEFAULT_RATE) -> InputContainer:
    """Open numbered pictures as a video.

    Args:
        path: a folder or a pattern.
        frame_rate: pictures per second; each is shown at a multiple of its inverse, exactly.

    Raises:
        SourceError: there are none, or they are of a kind that can't be read.
    """
    found = find_sequence(path)
    count, first = len(found.names), found.file(0)
    kind, timing = _kind_of(first), Timing(frame_rate.numerator, (frame_rate.denominator,) * count)
    if kind == _WEBP:
        height, width, _ = decode_webp(read_picture(first)).shape
        track = Track.of_pixels(width, height, 4, timing)
        return open_track(path, track, lambda index: _pixels(found.file(index), (height, width)))
    # An empty file, too, is a frame: one that can't be decoded.
    sizes = array("Q", (max(1, _size(found.file(index))) for index in range(count)))
    track = Track(kind, 24, 0, 0, sizes, timing)
    return open_track(path, track, lambda index: read_picture(found.file(index)) or b"\0")


def _kind_of(file: Path) -> bytes:
    start = read_picture(file, 12)
    kind = (
        _WEBP if is_webp(start) else next((k for magic, k in _KINDS.items() if start.startswith(magic)), None)
    )
    if kind is None:
        raise SourceError(f"{file} is no picture of a kind that can be read: PNG, JPEG, TIFF or WebP.")
    return kind


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise SourceError(f"{file} can't be read: {error.strerror}.") from error


def _pixels(file: Path, shape: tuple[int, int]) -> bytes:
    pixels = decode_webp(read_picture(file))
    if pixels.shape[:2] != shape:
        raise SourceError(
            f"{file} is of another size than the first picture: enlarge such pictures one by one."
        )
    return pixels.tobytes()
