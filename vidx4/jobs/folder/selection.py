"""The files of a folder that are upscaled, and where their outputs go."""

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from vidx4.errors import OutputError, SourceError
from vidx4.files.read import leads_out
from vidx4.jobs.folder.kinds import IRREGULAR, OUTSIDE, why_not
from vidx4.jobs.folder.walk import Listing, list_files
from vidx4.jobs.threads import no_check

OVERRIDES = "vidx4.toml"
"""The file that gives options to the files of its folder."""


@dataclass(frozen=True)
class Found:
    """The files of a folder that match patterns, in order."""

    paths: tuple[Path, ...]
    """The videos and pictures."""
    passed_over: Mapping[str, str]
    """Why everything else is passed over, by its path in the folder; hidden files and those of vidx4 itself
    are not here."""
    unreadable: Mapping[Path, str]
    """Why folders can't be listed, or files looked at."""


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
    has_full_names: bool = False
    """Whether outputs are named after the whole names of their sources, suffixes included."""

    def __post_init__(self) -> None:
        folder, output = self.folder.resolve(), self.output_folder.resolve()
        if folder == output:
            raise OutputError(f"{self.output_folder} is the folder of the sources: choose another one.")
        if output.is_relative_to(folder):
            raise OutputError(f"{self.output_folder} lies inside {self.folder}: choose a folder outside it.")

    def name(self, path: Path) -> str:
        """Return a file's path in the folder, with slashes."""
        return path.relative_to(self.folder).as_posix()

    def find(self) -> list[Path]:
        """Return the videos and pictures in the folder and all folders below it, in order."""
        return list(self.survey().paths)

    def survey(self, check: Callable[[], object] = no_check) -> Found:
        """Return the videos and pictures, why other files are passed over, and what can't be read.

        The suffix tells what a file is; where it does not, as in a file without one, the first bytes do.

        Args:
            check: called at each file; ends the search by raising.
        """
        listing = list_files(self.folder, check)
        paths, passed_over, unreadable = list[Path](), dict(listing.passed_over), dict(listing.unreadable)
        for path, why in self._judged(listing, check):
            if isinstance(why, OSError):
                unreadable[path] = why.strerror or str(why)
            elif why:
                passed_over[path] = why
            else:
                paths.append(path)
        others = {self.name(path): passed_over[path] for path in sorted(passed_over)}
        others.pop(OVERRIDES, None)
        wanted = {name: why for name, why in others.items() if self._is_wanted(name)}
        problems = {path: why for path, why in sorted(unreadable.items()) if not self._is_excluded(path)}
        return Found(tuple(sorted(paths)), wanted, problems)

    def _judged(self, listing: Listing, check: Callable[[], object]) -> Iterator[tuple[Path, str | OSError]]:
        """Yield the files that match, and why each is passed over or can't be read."""
        present = frozenset(listing.files)
        for path in listing.files:
            check()
            if self._is_wanted(self.name(path)):
                try:
                    yield path, self._why_not(path, path in listing.links, present)
                except OSError as error:
                    yield path, error

    def _why_not(self, path: Path, is_link: bool, present: Set[Path]) -> str:
        """Return why a file is passed over; empty for a video or a picture.

        Raises:
            OSError: it can't be read.
        """
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                return IRREGULAR
        except OSError:
            if not is_link:
                raise
            return IRREGULAR
        if is_link and not self.is_trusted and leads_out(path, self.folder):
            return OUTSIDE
        return why_not(path, present)

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

    def _is_wanted(self, name: str) -> bool:
        is_included = not self.include or any(matches(name, pattern) for pattern in self.include)
        return is_included and not any(matches(name, pattern) for pattern in self.exclude)

    def _is_excluded(self, path: Path) -> bool:
        """Return whether no file in a folder can match, or a file itself does not."""
        names = self.name(path), f"{self.name(path)}/"
        return any(matches(name, pattern) for name in names for pattern in self.exclude)

    def output(self, path: Path) -> Path:
        """Return the output of a file without its suffix, which depends on what the file holds.

        The folder tree is kept. The name depends on the file alone, never on those beside it.
        """
        stem = path.name if self.has_full_names else path.stem
        return self.output_folder / path.relative_to(self.folder).with_name(f"{stem}_x4")


def matches(name: str, pattern: str) -> bool:
    """Return whether a pattern matches a file, given by its path in the folder."""
    return fnmatchcase(name, pattern) or fnmatchcase(name.rpartition("/")[2], pattern)


def check_not_empty(selection: Selection, found: Found) -> None:
    """Make sure that there is something to do.

    Raises:
        SourceError: the selection is empty.
    """
    if not found.paths and not found.unreadable:
        raise SourceError(f"{selection.folder} holds no videos or pictures that match.")
