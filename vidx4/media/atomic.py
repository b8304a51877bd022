"""Files that appear whole or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import file_digest as digest_of
from hashlib import sha256
from pathlib import Path

from av.error import FFmpegError

from vidx4.errors import DiskFullError, OutputError

_FULL = (errno.ENOSPC, errno.EDQUOT)
UNFINISHED = ".*.unfinished"
"""Matches the names of files that are being written."""


def check_writable(output: Path, source: Path, overwrite: bool) -> None:
    """Make sure that a file, a video's or a picture's, can be written without loss to what exists.

    Raises:
        OutputError: the output exists and may not be overwritten, is the source itself, or can't be there.
    """
    try:
        if output.is_dir():
            raise OutputError(f"{output} is a folder: name a file in it.")
        if output.exists() and output.samefile(source):
            raise OutputError(f"{output} is the source itself: choose another name.")
        if output.exists() and not overwrite:
            raise OutputError(f"{output} exists already: choose another name, or allow overwriting.")
    except OSError as error:
        raise OutputError(f"{output} can't be written: {error.strerror}.") from error


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; what was written takes its place when the block ends well.

    After an exception, an interruption by the user included, nothing is left behind.

    Raises:
        DiskFullError: there is no room for the file.
        OutputError: the file can't be written for another reason.
    """
    unfinished = path.with_name(_unfinished_name(path.name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        _flush(unfinished)
        unfinished.replace(path)
        _flush(path.parent)  # the new name, too, is to survive a power cut
    except (OSError, FFmpegError) as error:
        kind = DiskFullError if error.errno in _FULL else OutputError
        raise kind(f"{path} can't be written: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):
            unfinished.unlink()


def _unfinished_name(name: str) -> str:
    """Return a name that is no longer where `name` is as long as a name can be."""
    return f".{sha256(os.fsencode(name)).hexdigest()[:16]}.unfinished"


def _flush(path: Path) -> None:
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
