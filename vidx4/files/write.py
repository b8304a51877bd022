"""Files and folders that appear whole or not at all, written under names that nobody can foresee.

A folder of unknown origin may hold links at the names that are written to. A file is therefore created under
a random name, which must not exist, and takes its final name by being renamed, which replaces a link itself
and never what it leads to.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from secrets import token_hex

from av.error import FFmpegError

from vidx4.errors import DiskFullError, OutputError
from vidx4.files.flags import NO_FOLLOW, NO_WAIT
from vidx4.files.lock import try_lock

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_LINKS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.ENOTSUP, errno.EMLINK, errno.EXDEV, errno.EINVAL)
"""What file systems answer that have no hard links."""
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF)
"""What file systems answer that can't flush a folder."""
UNFINISHED = ".*.unfinished"
"""A pattern for the names of files that are being written."""
_ANYONE, _OWNER = 0o666, 0o600
"""Permissions to read and write, for everyone and for the owner."""


def check_writable(output: Path, source: Path, overwrite: bool) -> None:
    """Check that an output can be written without damage to what exists.

    Raises:
        OutputError: the output exists and may not be overwritten, is the source itself, or can't be written.
    """
    try:
        if output.is_dir():
            raise OutputError(f"{output} is a folder: name a file in it.")
        if output.exists() and output.samefile(source):
            raise OutputError(f"{output} is the source itself: choose another name.")
        if output.exists() and not output.is_file():
            raise OutputError(f"{output} is a device or a pipe: choose another name.")
        if os.path.lexists(output) and not overwrite:
            raise OutputError(f"{output} already exists: choose another name, or use --overwrite.")
    except (OSError, ValueError) as error:
        raise OutputError(f"{output} can't be written: {_reason(error)}.") from error


@contextmanager
def write_whole(path: Path, *, overwrite: bool = True, like: Path | None = None) -> Iterator[Path]:
    """Give a path beside `path` to write a file to, which takes its place when the block ends well.

    After an exception, a KeyboardInterrupt included, nothing is left behind.

    Args:
        path: the file.
        overwrite: whether a file that exists when the block ends is replaced.
        like: a file or folder; nobody may read the new file who may not read that.

    Raises:
        DiskFullError: the disk is full.
        OutputError: the file can't be written for another reason, or exists.
    """
    with _errors_about(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_remains(path)
        unfinished = path.with_name(_hidden_name(path.name, "unfinished"))
        descriptor = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_FOLLOW, _permissions(like))
        try:
            _mark(descriptor)
            yield unfinished
            _flush(unfinished)
            _take_place(unfinished, path, overwrite)
            _flush_folder(path.parent)  # or the new name may not survive a power cut
        finally:
            os.close(descriptor)
            with suppress(OSError):
                unfinished.unlink()


def _take_place(unfinished: Path, path: Path, overwrite: bool) -> None:
    """Give a file its final name; without `overwrite`, only if nothing has that name."""
    if overwrite:
        unfinished.replace(path)
        return
    try:
        path.hardlink_to(unfinished)  # unlike renaming, it fails if the name exists
    except FileExistsError as error:
        raise _appeared(path) from error
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise _appeared(path) from error
        unfinished.rename(path)


def _appeared(path: Path) -> OutputError:
    return OutputError(f"{path} has appeared meanwhile: move it away, or use --overwrite.")


@contextmanager
def write_whole_folder(folder: Path, *, like: Path | None = None) -> Iterator[Path]:
    """Give an empty folder to write files to, which takes the place of `folder` when the block ends well.

    The files have to be flushed by their writer. After an exception, a KeyboardInterrupt included, nothing is
    left behind, and a folder that was there before is as it was.

    Args:
        folder: the folder.
        like: a file or folder; nobody may read the new folder who may not read that.

    Raises:
        DiskFullError: the disk is full.
        OutputError: the folder can't be written for another reason.
    """
    folder = folder.absolute()
    unfinished = folder.with_name(_hidden_name(folder.name, "unfinished"))
    with _errors_about(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        for state in ("unfinished", "old"):
            remove_remains(folder, state, shutil.rmtree)
        permissions = _permissions(like)
        unfinished.mkdir(permissions | (permissions & 0o444) >> 2)  # whoever may read it may enter it
        descriptor = os.open(unfinished, os.O_RDONLY)
        try:
            _mark(descriptor)
            yield unfinished
            _replace_folder(folder, unfinished)
        finally:
            os.close(descriptor)
            shutil.rmtree(unfinished, ignore_errors=True)


def _replace_folder(folder: Path, unfinished: Path) -> None:
    _flush_folder(unfinished)
    old = folder.with_name(_hidden_name(folder.name, "old"))
    if os.path.lexists(folder):  # no system call replaces a folder that is not empty: it steps aside
        folder.rename(old)
    try:
        unfinished.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    _flush_folder(folder.parent)
    if old.is_symlink():
        old.unlink()
    else:
        shutil.rmtree(old, ignore_errors=True)


def _permissions(like: Path | None) -> int:
    """Return the permissions of a new file, before those that the user denies to all new files."""
    if like is None or not like.exists():  # a pattern for numbered pictures is no file
        return _ANYONE
    return (like.stat().st_mode | _OWNER) & _ANYONE


def _hidden_name(name: str, state: str) -> str:
    """Return a new name of fixed length, since `name` may be as long as a file system allows already."""
    return f".{_digest(name)}.{token_hex(8)}.{state}"


def _digest(name: str) -> str:
    return sha256(os.fsencode(name)).hexdigest()[:16]


def _mark(descriptor: int) -> None:
    """Show other processes that a file or a folder is being written."""
    with suppress(OSError):  # on file systems without locks
        try_lock(descriptor)


def remove_remains(
    path: Path, state: str = "unfinished", remove: Callable[[Path], None] = Path.unlink
) -> None:
    """Remove what killed runs have left of a file or a folder; a run that still works has locked it."""
    for remains in path.parent.glob(f".{_digest(path.name)}.*.{state}"):
        with suppress(OSError):
            descriptor = os.open(remains, os.O_RDONLY | NO_FOLLOW | NO_WAIT)
            try:
                if try_lock(descriptor):
                    remove(remains)
            finally:
                os.close(descriptor)


@contextmanager
def _errors_about(path: Path) -> Iterator[None]:
    """Turn errors of writing to a path into errors for the user."""
    try:
        yield
    except (OSError, FFmpegError) as error:
        kind = DiskFullError if error.errno in _FULL else OutputError
        raise kind(f"{path} can't be written: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def _flush(path: Path) -> None:
    """Wait until a file is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, on file systems that can."""
    try:
        _flush(folder)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
