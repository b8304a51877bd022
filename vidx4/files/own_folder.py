"""Folders that vidx4 makes for itself, in places where others may have put something first."""

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from secrets import token_hex

from vidx4.errors import InUseError, OutputError
from vidx4.files.busy import remove
from vidx4.files.flags import FREES_OPEN_FILES
from vidx4.files.lock import is_at, locked
from vidx4.files.read import read_at

LOCK = "lock"
SIGNATURE = b"made by vidx4\n"
"""Content of the lock file, which shows that vidx4 made the folder."""


@contextmanager
def own_folder(path: Path) -> Iterator[None]:
    """Make a folder, or take one that vidx4 made, and lock it for this process.

    Only the user can read what is in it.

    Raises:
        OutputError: another process uses the folder, it can't be created, it is a link or belongs to another
            user, or vidx4 did not make it.
    """
    with _emptied(path), ExitStack() as stack:
        try:
            _make(path)
            descriptor = stack.enter_context(locked(path / LOCK))
            # Between opening and locking, the process that held the lock may have removed the folder.
            if not is_at(descriptor, path / LOCK):
                raise InUseError(f"Another job has just finished in {path}: try again.")
            _sign(path, descriptor)
        except BlockingIOError as error:
            raise InUseError(f"Another job is using {path}: wait for it, or stop it.") from error
        except OSError as error:
            raise OutputError(f"{path} can't be used ({LOCK}: {error.strerror}).") from error
        yield


@contextmanager
def _emptied(path: Path) -> Iterator[None]:
    """Remove an empty folder after a block that closes its lock, if the lock could not be removed before.

    Another process that has taken the folder over meanwhile has the lock open, so that it stays.
    """
    try:
        yield
    finally:
        if not FREES_OPEN_FILES:
            _remove_empty(path)


def _make(path: Path) -> None:
    """Create a folder, or make sure that the one that is there can be used.

    Raises:
        OutputError: it is a link or belongs to another user, or vidx4 did not make it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            path.mkdir(0o700)
            return
        if path.is_symlink() or not path.is_dir():
            raise OutputError(f"{path} is not a folder but a link or a file: remove it.")
        if not _is_own(path):
            raise OutputError(f"{path} belongs to another user: choose another output.")
        if any(path.iterdir()) and not os.path.lexists(path / LOCK):
            raise _not_ours(path)
    except OSError as error:
        raise OutputError(f"{path} can't be created: {error.strerror}.") from error


def _is_own(path: Path) -> bool:
    """Return whether a folder belongs to the user, or to whom all belongs that is created on this share."""
    owner = path.stat().st_uid
    if not hasattr(os, "geteuid") or owner == os.geteuid():
        return True
    probe = path / f".{token_hex(8)}.unfinished"
    probe.touch(exist_ok=False)
    try:
        return probe.stat().st_uid == owner
    finally:
        probe.unlink()


def _sign(path: Path, lock: int) -> None:
    """Make sure that vidx4 made a folder, as its lock file says; a new one is marked as such.

    Raises:
        OutputError: it did not.
    """
    if read_at(lock, 0, len(SIGNATURE) + 1) == SIGNATURE:
        return
    if (
        os.fstat(lock).st_size
        or os.fstat(lock).st_nlink != 1
        or [each.name for each in path.iterdir()] != [LOCK]
    ):
        raise _not_ours(path)
    os.lseek(lock, 0, os.SEEK_SET)
    os.write(lock, SIGNATURE)


def _not_ours(path: Path) -> OutputError:
    return OutputError(
        f"{path} was not made by this version of vidx4: move it away, or choose another output."
    )


def keep_fresh(path: Path) -> None:
    """Have the lock of a folder look used, so that no cleaning of old files removes it during long work."""
    with suppress(OSError):
        os.utime(path / LOCK, follow_symlinks=os.utime not in os.supports_follow_symlinks)


def own_files(path: Path) -> list[Path]:
    """Return the regular files in a folder; none if it is a link or missing."""
    with suppress(OSError):
        if not path.is_symlink():
            with os.scandir(path) as entries:
                return [Path(entry.path) for entry in entries if entry.is_file(follow_symlinks=False)]
    return []


def remove_files(path: Path, names: re.Pattern[str]) -> None:
    """Remove the regular files in a folder whose whole names match."""
    for file in own_files(path):
        if names.fullmatch(file.name):
            remove(file)


def remove_folder(path: Path, names: re.Pattern[str]) -> bool:
    """Remove a folder with its lock and the files whose whole names match, but not if it holds others.

    Returns:
        Whether it is gone, or will be when `own_folder` ends.
    """
    remove_files(path, names)
    return _remove_empty(path)


def _remove_empty(path: Path) -> bool:
    """Remove a folder that holds at most its lock.

    Returns:
        Whether it is gone, or will be once its lock is closed.
    """
    try:
        if {each.name for each in path.iterdir()} - {LOCK}:
            return False
        try:
            (path / LOCK).unlink(missing_ok=True)
        except PermissionError:
            return not FREES_OPEN_FILES
        path.rmdir()
    except OSError:
        return False
    return True
