"""The files of a folder that are upscaled, and where their outputs go."""

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from vidx4.errors import OutputError, SourceError
from vidx4.files.read import is_regular, leads_out
from vidx4.media.formats.signatures import holds_video
from vidx4.media.formats.suffixes import OTHER_SUFFIXES, SHARED_SUFFIXES, VIDEO_SUFFIXES

# fmt: off
PICTURE_SUFFIXES = frozenset({
    ".avif", ".bmp", ".ico", ".jfif", ".jp2", ".jpeg", ".jpg", ".mpo", ".pcx", ".pgm", ".png", ".ppm", ".tga",
    ".tif", ".tiff", ".webp",
})
# fmt: on
OVERRIDES = "vidx4.toml"
"""The file that gives options to the files of its folder."""
NUM_NAMED = 5
"""Files passed over that are named."""
NEITHER = "neither videos nor pictures"
IRREGULAR = "neither files nor links to files"
OUTSIDE = "links that lead out of the folder (--trust-folder follows them)"
"""Why files are passed over."""

FRESH_SECONDS = 10.0
"""A file that changed this recently may still be growing."""
SETTLING_SECONDS = 1.0
"""Seconds between two looks at such files."""

Stamp = tuple[int, int]
"""Size in bytes and time of the last change in nanoseconds."""


@dataclass(frozen=True)
class Found:
    """The files of a folder that match patterns, in order."""

    paths: tuple[Path, ...]
    """The videos and pictures."""
    passed_over: Mapping[str, str]
    """Why everything else is passed over, by its path in the folder; hidden files and those of vidx4 itself
    are not here."""


@dataclass(frozen=True)
class Selection:
    """The files of a folder that match patterns, and the folder of their outputs.

    In a pattern, `*` stands for any characters, slashes included, and `?` for one. It matches a file by its
    path in the folder or by its name alone.
    """

    folder: Path
    output_folder: Path
    include: tuple[str, ...] = ()
    """Patterns of which one must match; none for all files."""
    exclude: tuple[str, ...] = ()
    """Patterns of which none may match."""
    is_trusted: bool = False
    """Whether links to files are followed out of the folder."""

    def __post_init__(self) -> None:
        if self.output_folder.resolve().is_relative_to(self.folder.resolve()):
            raise OutputError(f"{self.output_folder} lies inside {self.folder}: choose a folder outside it.")

    def name(self, path: Path) -> str:
        """Return a file's path in the folder, with slashes."""
        return path.relative_to(self.folder).as_posix()

    def find(self) -> list[Path]:
        """Return the videos and pictures in the folder and all folders below it, in order."""
        return list(self.survey().paths)

    def survey(self) -> Found:
        """Return the videos and pictures, and why other files are passed over.

        The suffix tells what a file is; where it does not, as in a file without one, the first bytes do.
        """
        wanted = sorted(path for path in _walk(self.folder) if self._is_wanted(path))
        reasons = {path: self._why_not(path) for path in wanted}
        others = {self.name(path): reason for path, reason in reasons.items() if reason}
        others.pop(OVERRIDES, None)
        return Found(tuple(path for path in wanted if not reasons[path]), others)

    def _why_not(self, path: Path) -> str:
        """Return why a file is passed over; an empty string for a video or a picture."""
        if not is_regular(path):
            return IRREGULAR
        if not self.is_trusted and leads_out(path, self.folder):
            return OUTSIDE
        return "" if _is_video_or_picture(path) else NEITHER

    def check_output(self, output: Path) -> None:
        """Make sure that no link leads an output out of the folder of the outputs.

        Raises:
            OutputError: its folder is such a link, or lies below one.
        """
        if leads_out(output.parent, self.output_folder):
            raise OutputError(
                f"{output} would be written to {os.path.realpath(output.parent)}, since a link leads out of "
                f"{self.output_folder}: remove the link."
            )

    def _is_wanted(self, path: Path) -> bool:
        name = self.name(path)
        is_included = not self.include or any(matches(name, pattern) for pattern in self.include)
        return is_included and not any(matches(name, pattern) for pattern in self.exclude)

    def outputs(self, paths: Sequence[Path]) -> dict[Path, Path]:
        """Return the output of each file without its suffix, which depends on what the file holds.

        The folder tree is kept; files that differ only in their suffix keep it in the name.
        """
        twins = Counter(path.with_suffix("") for path in paths)
        return {path: self._output(path, twins[path.with_suffix("")] > 1) for path in paths}

    def _output(self, path: Path, has_twin: bool) -> Path:
        stem = path.name if has_twin else path.stem
        return self.output_folder / path.relative_to(self.folder).with_name(f"{stem}_x4")


def matches(name: str, pattern: str) -> bool:
    """Return whether a pattern matches a file, given by its path in the folder."""
    return fnmatchcase(name, pattern) or fnmatchcase(name.rpartition("/")[2], pattern)


def name_passed_over(names: Sequence[str], reason: str = NEITHER, *, show_all: bool = False) -> str:
    """Return a sentence on the files that are passed over; it names some of them, or all."""
    named = names if show_all or len(names) <= NUM_NAMED + 1 else names[:NUM_NAMED]
    more = f" and {len(names) - len(named)} more" if len(named) < len(names) else ""
    count = "1 file is" if len(names) == 1 else f"{len(names)} files are"
    return f"{count} passed over, {reason}: {', '.join(named)}{more}"


def check_not_empty(selection: Selection, paths: Sequence[Path]) -> None:
    """Make sure that there is something to do.

    Raises:
        SourceError: the selection is empty.
    """
    if not paths:
        raise SourceError(f"{selection.folder} holds no videos or pictures that match.")


def _walk(folder: Path) -> Iterator[Path]:
    """Yield files; hidden ones, those of unfinished work and links to folders are skipped."""
    waiting = [folder]  # a stack, since `os.walk` calls itself and folders may be nested a thousand deep
    while waiting:
        for path in _inside(waiting.pop()):
            if not _is_folder(path):
                yield path
            elif not path.is_symlink() and path.suffix != ".vidx4":
                waiting.append(path)


def _inside(folder: Path) -> list[Path]:
    with suppress(OSError):
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    return []


def _is_folder(path: Path) -> bool:
    with suppress(OSError):
        return path.is_dir()
    return False


def _is_video_or_picture(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in SHARED_SUFFIXES or suffix not in VIDEO_SUFFIXES | PICTURE_SUFFIXES | OTHER_SUFFIXES:
        return _holds_video(path, stamp(path))
    return suffix not in OTHER_SUFFIXES


@lru_cache(maxsize=1 << 16)
def _holds_video(path: Path, stamp: Stamp | None) -> bool:
    """Return whether a file begins like a video; it is read again only after it has changed."""
    return stamp is not None and holds_video(path)


def stamp(path: Path) -> Stamp | None:
    """Return a value that changes when the file does; None if there is no file."""
    with suppress(OSError):
        status = path.stat()
        return status.st_size, status.st_mtime_ns
    return None


def unsettled(paths: Iterable[Path]) -> set[Path]:
    """Return the files that are still being written: those that change between two looks."""
    fresh = {path: before for path in paths if (before := stamp(path)) is not None and _is_fresh(before)}
    if fresh:
        time.sleep(SETTLING_SECONDS)
    return {path for path, before in fresh.items() if stamp(path) != before}


def _is_fresh(stamp: Stamp) -> bool:
    return abs(time.time() - stamp[1] / 1e9) < FRESH_SECONDS
