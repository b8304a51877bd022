"""The files in a folder and all folders below it, and what can't be listed there."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vidx4.jobs.folder.kinds import LINKED_FOLDER

_WORK_SUFFIX = ".vidx4"
_OF_THE_SYSTEM = frozenset({"$recycle.bin", "system volume information"})
"""Folders at the root of a disk, in small letters: Windows hides them, and keeps there what was deleted."""


@dataclass
class Listing:
    """What a folder holds at any depth, without hidden files and unfinished work."""

    files: list[Path] = field(default_factory=list)
    links: set[Path] = field(default_factory=set)
    """Those of the files that are links."""
    passed_over: dict[Path, str] = field(default_factory=dict)
    """Links to folders, which are not followed, and why."""
    unreadable: dict[Path, str] = field(default_factory=dict)
    """What can't be listed or looked at, and why."""


def list_files(folder: Path, check: Callable[[], object]) -> Listing:
    """Return what a folder holds.

    Args:
        folder: the folder.
        check: called at each file and folder; ends the search by raising.
    """
    found, waiting = Listing(), [folder]
    while waiting:  # a stack, since `os.walk` calls itself and folders may be nested a thousand deep
        for entry in _entries(waiting.pop(), found):
            check()
            path = Path(entry.path)
            try:
                if _is_kept(entry, path, found):
                    waiting.append(path)
            except OSError as error:
                found.unreadable[path] = _reason(error)
    return found


def _entries(folder: Path, found: Listing) -> Iterator[os.DirEntry[str]]:
    """Yield what a folder holds that is not hidden, as far as it can be listed."""
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not _is_hidden(entry.name))
    except OSError as error:
        found.unreadable[folder] = _reason(error)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _OF_THE_SYSTEM


def _is_kept(entry: os.DirEntry[str], path: Path, found: Listing) -> bool:
    """Return whether an entry is a folder to be listed; add it to what was found if it is none."""
    is_link = entry.is_symlink()
    if not _is_folder(entry, path):
        found.files.append(path)
        found.links.update([path] if is_link else [])
    elif is_link:
        found.passed_over[path] = LINKED_FOLDER
    else:
        return path.suffix != _WORK_SUFFIX
    return False


def _is_folder(entry: os.DirEntry[str], path: Path) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        if not entry.is_symlink():
            raise
        return False  # a link that leads nowhere, or to itself


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
