"""The files of a folder that are enlarged."""

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from vidx4.errors import OutputError, SourceError

# fmt: off
VIDEO_SUFFIXES = frozenset({
    ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".m2ts", ".m2v", ".m4v", ".mj2",
    ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogm", ".ogv", ".rm", ".rmvb", ".ts",
    ".vob", ".webm", ".wmv", ".y4m",
})
PICTURE_SUFFIXES = frozenset({
    ".avif", ".bmp", ".ico", ".jfif", ".jp2", ".jpeg", ".jpg", ".mpo", ".pcx", ".pgm", ".png", ".ppm", ".tga",
    ".tif", ".tiff", ".webp",
})
# fmt: on

FRESH_SECONDS = 10.0
"""A file that was changed so lately may still be written to."""
SETTLING_SECONDS = 1.0
"""Between two looks at such files."""

Stamp = tuple[int, int]
"""Size in bytes and time of the last change in nanoseconds."""


@dataclass(frozen=True)
class Selection:
    """Where files are, which of them are meant, and where results go.

    In patterns, `*` stands for any characters, slashes included, `?` for one; they are held against a file's
    path in the folder and against its bare name.
    """

    folder: Path
    output_folder: Path
    include: tuple[str, ...] = ()
    """Patterns of which one must match; all files where there are none."""
    exclude: tuple[str, ...] = ()
    """Patterns none of which may match."""

    def __post_init__(self) -> None:
        if self.output_folder.resolve().is_relative_to(self.folder.resolve()):
            raise OutputError(f"{self.output_folder} lies inside {self.folder}: choose a folder beside it.")

    def name(self, path: Path) -> str:
        """Return a file's path in the folder, with slashes."""
        return path.relative_to(self.folder).as_posix()

    def find(self) -> list[Path]:
        """Return the videos and pictures in the folder and all below it, by their suffix, in order."""
        return sorted(path for path in _walk(self.folder) if self._is_wanted(path))

    def _is_wanted(self, path: Path) -> bool:
        name = self.name(path)
        is_included = not self.include or any(matches(name, pattern) for pattern in self.include)
        return is_included and not any(matches(name, pattern) for pattern in self.exclude)

    def outputs(self, paths: Sequence[Path]) -> dict[Path, Path]:
        """Return where the result of each file goes, without the suffix, which depends on what it holds.

        The tree is kept; a file's own suffix sets equal names apart.
        """
        twins = Counter(path.with_suffix("") for path in paths)
        return {path: self._output(path, twins[path.with_suffix("")] > 1) for path in paths}

    def _output(self, path: Path, has_twin: bool) -> Path:
        stem = path.name if has_twin else path.stem
        return self.output_folder / path.relative_to(self.folder).with_name(f"{stem}_x4")


def matches(name: str, pattern: str) -> bool:
    """Return whether a pattern is that of a file, given by its path in the folder."""
    return fnmatchcase(name, pattern) or fnmatchcase(name.rpartition("/")[2], pattern)


def check_not_empty(selection: Selection, paths: Sequence[Path]) -> None:
    """Make sure that there is something to do.

    Raises:
        SourceError: there is not.
    """
    if not paths:
        raise SourceError(f"{selection.folder} holds no video and no picture that is wanted.")


def _walk(folder: Path) -> Iterator[Path]:
    """Yield what may be a video or a picture; links to folders and hidden ones are not followed."""
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and not name.endswith(".vidx4")]
        for name in files:
            path = Path(root, name)
            if path.suffix.lower() in VIDEO_SUFFIXES | PICTURE_SUFFIXES and not name.startswith("."):
                yield path


def stamp(path: Path) -> Stamp | None:
    """Return what changes when a file does; None if it is not there."""
    with suppress(OSError):
        status = path.stat()
        return status.st_size, status.st_mtime_ns
    return None


def unsettled(paths: Iterable[Path]) -> set[Path]:
    """Return the files that are still being written: they change between two looks."""
    fresh = {path: before for path in paths if (before := stamp(path)) is not None and _is_fresh(before)}
    if fresh:
        time.sleep(SETTLING_SECONDS)
    return {path for path, before in fresh.items() if stamp(path) != before}


def _is_fresh(stamp: Stamp) -> bool:
    return abs(time.time() - stamp[1] / 1e9) < FRESH_SECONDS
