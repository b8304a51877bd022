"""Files and folders that appear whole or not at all."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import file_digest as digest_of
from hashlib import sha256
from pathlib import Path

from av.error import FFmpegError

from vidx4.errors import DiskFullError, OutputError

_FULL = (errno.ENOSPC, errno.EDQUOT)
UNFINISHED = ".*.unfinished"
"""A pattern for the names of files that are being written."""


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
        if output.exists() and not overwrite:
            raise OutputError(f"{output} already exists: choose another name, or use --overwrite.")
    except OSError as error:
        raise OutputError(f"{output} can't be written: {error.strerror}.") from error


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write a file to, which takes its place when the block ends well.

    After an exception, a KeyboardInterrupt included, nothing is left behind.

    Raises:
        DiskFullError: the disk is full.
        OutputError: the file can't be written for another reason.
    """
    unfinished = path.with_name(_hidden_name(path.name, "unfinished"))
    with _errors_about(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield unfinished
            _flush(unfinished)
            unfinished.replace(path)
            _flush(path.parent)  # or the new name may not survive a power cut
        finally:
            with suppress(OSError):
                unfinished.unlink()


@contextmanager
def write_whole_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to write files to, which takes the place of `folder` when the block ends well.

    The files have to be flushed by their writer. After an exception, a KeyboardInterrupt included, nothing is
    left behind, and a folder that was there before is as it was.

    Raises:
        DiskFullError: the disk is full.
        OutputError: the folder can't be written for another reason.
    """
    parent = folder.absolute().parent
    unfinished, old = (parent / _hidden_name(folder.name, state) for state in ("unfinished", "old"))
    with _errors_about(folder):
        try:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            yield unfinished
            _replace_folder(folder, unfinished, old)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def _replace_folder(folder: Path, unfinished: Path, old: Path) -> None:
    _flush(unfinished)
    if folder.exists():  # no system call replaces a folder that is not empty: it steps aside
        shutil.rmtree(old, ignore_errors=True)  # left by a run that was killed between these two lines
        folder.replace(old)
    try:
        unfinished.replace(folder)
    except OSError:
        if old.exists():
            old.replace(folder)
        raise
    _flush(folder.absolute().parent)
    shutil.rmtree(old, ignore_errors=True)


def _hidden_name(name: str, state: str) -> str:
    """Return a name of fixed length, since `name` may be as long as a file system allows already."""
    return f".{sha256(os.fsencode(name)).hexdigest()[:16]}.{state}"


@contextmanager
def _errors_about(path: Path) -> Iterator[None]:
    """Turn errors of writing to a path into errors for the user."""
    try:
        yield
    except (OSError, FFmpegError) as error:
        kind = DiskFullError if error.errno in _FULL else OutputError
        raise kind(f"{path} can't be written: {error.strerror or error}.") from error


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits.

    Raises:
        OSError: the file can't be read.
    """
    with path.open("rb") as file:
        return digest_of(file, "sha256").hexdigest()
