"""Read numbered pictures as a video."""

import logging
import os
import re
import stat
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from hashlib import file_digest, sha256
from itertools import pairwise
from pathlib import Path

from av.container import InputContainer

from vidx4.errors import SourceError
from vidx4.files.read import leads_out, open_file
from vidx4.media.formats.limits import MAX_FRAMES, MAX_PICTURE_SIZE
from vidx4.media.formats.suffixes import SHARED_SUFFIXES, VIDEO_SUFFIXES
from vidx4.media.pictures.animated_webp import decode_webp, is_webp, read_picture, read_start
from vidx4.media.pictures.bmp import Pixels, decode_bmp, is_bmp
from vidx4.media.pictures.virtual_mov import Timing, Track, open_track

_logger = logging.getLogger(__name__)

DEFAULT_RATE = Fraction(25)
"""Numbered pictures per second, by default."""
SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""Suffixes of files that may be numbered pictures, in lower case."""
PATTERN = re.compile(r"%(?:0\d{1,3})?d(?![A-Za-z])")
"""The place of the number in a pattern; not `%days`, which is part of a name. No name has 1,000 digits."""
_LAST_NUMBER = re.compile(r"\d+(?=\D*$)")
_CODECS = {b"\x89PNG": b"png ", b"\xff\xd8\xff": b"jpeg", b"II*\0": b"tiff", b"MM\0*": b"tiff"}
"""QuickTime's names of picture codecs, by the first bytes of a file."""
_PIXELS: dict[bytes, tuple[Callable[[bytes], Pixels], int]] = {
    b"webp": (decode_webp, 4),
    b"bmp": (decode_bmp, 3),
}
"""Functions that decode pictures of which QuickTime has no name, and the channels that they give."""


@dataclass(frozen=True)
class NumberedPictures:
    """Files of one folder that are the frames of a video, in the order of their numbers."""

    folder: Path
    names: tuple[str, ...]
    """Names of the files, by ascending number."""
    numbers: tuple[int, ...]
    """Numbers of the files, ascending."""

    def file(self, index: int) -> Path:
        """Return the path of a frame's picture."""
        return self.folder / self.names[index]

    def linked_files(self) -> set[Path]:
        """Return the files that those pictures lead to which are links."""
        files = (self.folder / name for name in self.names)
        return {Path(os.path.realpath(file)) for file in files if file.is_symlink()}

    @property
    def warnings(self) -> tuple[str, ...]:
        """A warning about missing numbers, if there are any: the gaps are not filled."""
        gaps = [(a + 1, b) for a, b in pairwise(self.numbers) if b > a + 1]
        if not gaps:
            return ()
        first, _ = gaps[0]
        if (missing := sum(stop - start for start, stop in gaps)) == 1:
            return (
                f"1 frame is missing from {self.folder} (number {first}); the frames around the gap are "
                "played back to back.",
            )
        return (
            f"{missing} frames are missing from {self.folder} (the first is number {first}); the frames "
            "around each gap are played back to back.",
        )


def is_sequence(path: Path) -> bool:
    """Return whether a path is a folder with numbered pictures, or a pattern for them (`img_%04d.png`)."""
    with suppress(OSError):
        if path.is_dir():
            return any(_split_name(name) for name in _visible_names(path))
        return is_pattern(path.name) and not path.exists()
    return False


def is_pattern(name: str) -> bool:
    """Return whether a name is a pattern for numbered pictures: it holds `%d` or `%04d`, and no other `%`."""
    return PATTERN.search(name) is not None and name.count("%") == 1


def find_sequence(path: Path) -> NumberedPictures:
    """Return the pictures of a folder, or those that match a pattern.

    In a folder, the last number in a name counts; names without one are skipped. A pattern contains `%d` or,
    for numbers padded with zeros, `%04d`.

    Raises:
        SourceError: there are no pictures, they form more than one series, two have the same number, one is a
            link that leads out of the folder, or the folder can't be read.
    """
    folder, pattern = (path, None) if path.is_dir() else (path.parent, path.name)
    series: dict[str, dict[int, str]] = {}
    try:
        for name in _visible_names(folder):
            if (found := _split_name(name, pattern)) is not None:
                _add(series.setdefault(found[0], {}), found[1], name, folder)
    except OSError as error:
        raise SourceError(f"{folder} can't be read: {error.strerror}.") from error
    if pattern is None and (videos := [name for name in _visible_names(folder) if _is_video(name)]):
        raise SourceError(
            f"{path} holds videos such as {videos[0]} beside pictures: use vidx4 batch {path} OUTPUT, or "
            "name the pictures by a pattern, such as img_%04d.png."
        )
    if not series:
        raise SourceError(f"{path}: no numbered pictures found ({', '.join(sorted(SUFFIXES))}).")
    if len(series) > 1:
        raise SourceError(
            f"{path} holds more than one series of pictures ({', '.join(sorted(series)[:3])}): choose one "
            "with a pattern, such as img_%04d.png."
        )
    (names,) = series.values()
    if len(names) > MAX_FRAMES:
        raise SourceError(f"{path} holds more than {MAX_FRAMES:,} pictures: divide them.")
    _check_links(folder, names.values())
    return NumberedPictures(folder, tuple(names[number] for number in sorted(names)), tuple(sorted(names)))


def _add(names: dict[int, str], number: int, name: str, folder: Path) -> None:
    if number in names:
        raise SourceError(f"{names[number]} and {name} in {folder} have the same number.")
    names[number] = name


def _check_links(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        picture = folder / name
        if picture.is_symlink() and leads_out(picture, folder):
            raise SourceError(
                f"{picture} is a link that leads out of its folder: copy the files that such links lead to "
                "into the folder."
            )


def _is_video(name: str) -> bool:
    suffix = Path(name).suffix.lower()
    return suffix in VIDEO_SUFFIXES - SHARED_SUFFIXES and suffix not in SUFFIXES


def _visible_names(folder: Path) -> Iterator[str]:
    return (name for name in all_names(folder) if not name.startswith("."))


def all_names(folder: Path) -> Iterator[str]:
    """Yield the names of a folder's files and folders."""
    with os.scandir(folder) as entries:
        yield from (entry.name for entry in entries)


def _split_name(name: str, pattern: str | None = None) -> tuple[str, int] | None:
    """Return the series that a file belongs to and its number; None if it is not a numbered picture."""
    if pattern is not None:
        return match_number(name, pattern)
    stem, suffix = os.path.splitext(name)  # noqa: PTH122, a `Path` for each of 100,000 files takes too long
    number = _LAST_NUMBER.search(stem)
    if number is None or suffix.lower() not in SUFFIXES:
        return None
    return f"{stem[: number.start()]}#{stem[number.end() :]}{suffix.lower()}", int(number[0])


def match_number(name: str, pattern: str) -> tuple[str, int] | None:
    """Return a pattern and the number with which it gives a name; None if it never does.

    Args:
        name: the name of a file.
        pattern: a pattern for names, such as `img_%04d.png`.
    """
    place = PATTERN.search(pattern)
    assert place is not None
    before, after = pattern[: place.start()], pattern[place.end() :]
    digits = name[len(before) : len(name) - len(after)]
    is_match = name.startswith(before) and name.endswith(after) and digits.isascii() and digits.isdigit()
    # Formatting the number again rules out 7 for %04d, and 0007 for %d.
    return (pattern, int(digits)) if is_match and place[0] % int(digits) == digits else None


def sequence_digest(path: Path) -> str:
    """Return the SHA-256 of the names, sizes and contents of numbered pictures, in hexadecimal digits.

    Raises:
        SourceError: there are no numbered pictures.
        OSError: a picture can't be read.
    """
    found, digest = find_sequence(path), sha256()
    for name in found.names:
        with open_file(found.folder / name) as file:
            size = os.fstat(file.fileno()).st_size
            digest.update(
                os.fsencode(name) + struct.pack(">BQ", 0, size) + file_digest(file, "sha256").digest()
            )
    return digest.hexdigest()


def open_sequence(path: Path, frame_rate: Fraction = DEFAULT_RATE) -> InputContainer:
    """Open numbered pictures as a video.

    Args:
        path: a folder or a pattern.
        frame_rate: pictures per second; each picture is shown at an exact multiple of the inverse.

    Raises:
        SourceError: there are no pictures, or their format can't be read.
    """
    found = find_sequence(path)
    count, first = len(found.names), found.file(0)
    codec, timing = _codec_of(first), Timing(frame_rate.numerator, (frame_rate.denominator,) * count)
    if codec in _PIXELS:
        decode, num_channels = _PIXELS[codec]
        height, width, _ = _decoded(first, decode).shape
        track = Track.of_pixels(width, height, num_channels, timing)
        return open_track(path, track, lambda index: _read_pixels(found.file(index), decode, (height, width)))
    # An empty file counts as a frame that can't be decoded, and no sample of a track may be empty.
    sizes = array("Q", (max(1, _size_of(found.file(index))) for index in range(count)))
    track = Track(codec, 24, 0, 0, sizes, timing)
    return open_track(path, track, lambda index: read_picture(found.file(index)) or b"\0")


def _codec_of(file: Path) -> bytes:
    """Return QuickTime's name of a picture's codec, by content: a suffix may be wrong."""
    start = read_start(file, 12)
    if is_webp(start):
        return b"webp"
    if is_bmp(start):
        return b"bmp"
    for magic, codec in _CODECS.items():
        if start.startswith(magic):
            return codec
    raise SourceError(f"{file} is not a PNG, JPEG, TIFF, BMP or WebP picture.")


def _size_of(file: Path) -> int:
    try:
        found = file.stat()
    except OSError as error:
        raise SourceError(f"{file} can't be read: {error.strerror}.") from error
    if not stat.S_ISREG(found.st_mode):
        raise SourceError(f"{file} is not a file.")
    if found.st_size > MAX_PICTURE_SIZE:
        raise SourceError(f"{file} is too large for a picture: {found.st_size:,} bytes.")
    return found.st_size


def _read_pixels(file: Path, decode: Callable[[bytes], Pixels], shape: tuple[int, int]) -> bytes:
    """Return the pixels of a picture, which must be (H, W) of the first."""
    pixels = _decoded(file, decode)
    if pixels.shape[:2] != shape:
        raise SourceError(
            f"{file} differs in size from the first picture: enlarge pictures of several sizes one by one."
        )
    return pixels.tobytes()


def _decoded(file: Path, decode: Callable[[bytes], Pixels]) -> Pixels:
    content = read_picture(file)
    try:
        return decode(content)
    except SourceError as error:
        raise SourceError(f"{file}: {error}") from error
