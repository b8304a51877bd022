"""Stamps of files: values that change when a file does, found without opening it."""

from contextlib import suppress
from pathlib import Path

from vidx4.errors import SourceChangedError

Stamp = tuple[int, int]
"""Size in bytes and time of the last change in nanoseconds."""
State = tuple[int, int, int, int]
"""A stamp, the time of the last change of content or name, and the number of the file on its disk."""


def stamp(path: Path) -> Stamp | None:
    """Return a value that changes when the file does; None if there is no file."""
    found = state(path)
    return None if found is None else found[:2]


def state(path: Path) -> State | None:
    """Return what changes with every write, even if times are set back; None if there is no file."""
    with suppress(OSError, ValueError):
        status = path.stat()
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
    return None


def check_unchanged(path: Path, before: Stamp | None) -> None:
    """Make sure that a source is what it was.

    Raises:
        SourceChangedError: it has changed.
    """
    if stamp(path) != before:
        raise SourceChangedError(f"{path} changed while it was enlarged: wait until it is complete.")
