"""Lock files, so that two processes don't work in one place.

The package `filelock` would not do: it opens a path by itself and empties what it finds there. Here a file is
locked that is open already, and was found to be the right one.
"""

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
    import time
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
        close_locked(descriptor)


def _lock_or_warn(descriptor: int, waits: bool) -> bool:
    try:
        return try_lock(descriptor, waits=waits)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _logger.warning("This file system has no locks: start no other job with the same output.")
        return True


def try_lock(descriptor: int, *, waits: bool = False) -> bool:
    """Lock an open file; return whether this process has it now.

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


def close_locked(descriptor: int) -> None:
    """Close a file, and unlock it if this process has locked it by that descriptor."""
    try:
        _unlock(descriptor)
    finally:
        os.close(descriptor)


if sys.platform == "win32":
    _PLACE = 0x7FFF_FFFE
    """The byte to lock, the last one that the call reaches: other processes can't read what is locked."""
    _POLL_SECONDS = 0.1

    def _lock(descriptor: int, waits: bool) -> None:
        while not _locks(descriptor, msvcrt.LK_NBLCK):
            if not waits:
                raise BlockingIOError(errno.EWOULDBLOCK, "another process has locked it")
            time.sleep(_POLL_SECONDS)  # the call that waits gives up after ten seconds

    def _unlock(descriptor: int) -> None:
        with suppress(OSError):  # it was not locked; closing unlocks as well, but at some later time
            _locks(descriptor, msvcrt.LK_UNLCK)

    def _locks(descriptor: int, mode: int) -> bool:
        os.lseek(descriptor, _PLACE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, mode, 1)
        except PermissionError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True

else:

    def _lock(descriptor: int, waits: bool) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(_: int) -> None:
        """Leave it to closing, which unlocks at once."""
