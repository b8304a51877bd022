"""The functions of Windows' C library that lock files and turn handles into descriptors."""

import fcntl
import os
import struct

LK_UNLCK, LK_LOCK, LK_NBLCK = 0, 1, 2
_REACH = 2**31
"""Places at which the C library can lock: they are numbers of 32 bits, with a sign."""


def locking(descriptor: int, mode: int, num_bytes: int) -> None:
    """Lock or unlock bytes from where a file stands; a lock belongs to whoever opened the file."""
    place = os.lseek(descriptor, 0, os.SEEK_CUR)
    if place + num_bytes >= _REACH:
        raise OSError(22, "Invalid argument")
    kind = fcntl.F_UNLCK if mode == LK_UNLCK else fcntl.F_WRLCK
    lock = struct.pack("hhqqi4x", kind, os.SEEK_SET, place, num_bytes, 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, lock)
    except BlockingIOError as error:
        raise PermissionError(13, "Permission denied") from error


def get_osfhandle(descriptor: int) -> int:
    """Return the handle of a descriptor."""
    return descriptor


def open_osfhandle(handle: int, _: int) -> int:
    """Return a descriptor of a handle."""
    return handle
