"""Lock files, so that two processes don't work in one place."""

import errno
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vidx4.files.read import open_regular

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_logger = logging.getLogger(__name__)

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
"""What file systems answer that have no locks, such as some of network shares."""


@contextmanager
def locked(path: Path, *, waits: bool = False) -> Iterator[int]:
    """Lock a file for this process, and give its descriptor; the file is created if necessary, never changed.

    Args:
        path: the file.
        waits: whether to wait until another process unlocks it.

    Raises:
        BlockingIOError: another process has locked it, and `waits` is not set.
        OSError: it is a link or not a regular file, or can't be created.
    """
    descriptor = open_regular(path, os.O_RDWR | os.O_CREAT)
    try:
        if not _lock_or_warn(descriptor, waits):
            raise BlockingIOError(errno.EWOULDBLOCK, "another process has locked it", str(path))
        yield descriptor
    finally:
        os.close(descriptor)


def _lock_or_warn(descriptor: int, waits: bool) -> bool:
    try:
        return try_lock(descriptor, waits=waits)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _logger.warning("This file system has no locks: start no other job with the same output.")
        return True


def try_lock(descriptor: int, *, waits: bool = False) -> bool:
    """Lock an open file or folder; return whether this process has it now.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        _lock(descriptor, waits)
    except BlockingIOError:
        return False
    return True


def is_at(descriptor: int, path: Path) -> bool:
    """Return whether an open file is still the one at a path."""
    with suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    return False


if sys.platform == "win32":

    def _lock(descriptor: int, waits: bool) -> None:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_LOCK if waits else msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(errno.EWOULDBLOCK, "another process has locked it") from error

else:

    def _lock(descriptor: int, waits: bool) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
