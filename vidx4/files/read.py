"""Open files for reading: regular ones only, so that nothing blocks, and no more than memory holds."""

import errno
import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from hashlib import file_digest as digest_of
from io import BufferedReader
from pathlib import Path
from typing import Any

from vidx4.files.flags import BINARY, NO_FOLLOW, NO_WAIT

MAX_TEXT_SIZE = 1 << 20
"""Most bytes of a file of settings that people write."""
MAX_RECORDS_SIZE = 256 << 20
"""Most bytes of a file of records that programs write."""


def open_file(path: Path, *, follows_links: bool = True) -> BufferedReader:
    """Open a regular file for reading.

    Args:
        path: the file.
        follows_links: whether the file may be a link to another; folders on the way to it always may.

    Raises:
        OSError: it is missing, can't be read, or is not a regular file: a pipe would block until somebody
            writes to it, and a device may have no end.
    """
    return os.fdopen(open_regular(path, os.O_RDONLY, follows_links=follows_links), "rb")


def open_regular(path: Path, flags: int, *, follows_links: bool = False) -> int:
    """Return the descriptor of a regular file, opened without waiting; see `open_file`.

    Args:
        path: the file.
        flags: those of `os.open`.
        follows_links: whether the file may be a link to another.

    Raises:
        OSError: it can't be opened, is a link, or is not a regular file.
    """
    if not follows_links:
        flags |= NO_FOLLOW
        if path.is_symlink():
            raise OSError(errno.ELOOP, "it is a link", str(path))
    descriptor = os.open(path, flags | NO_WAIT | BINARY, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return descriptor


def read_at(descriptor: int, place: int, size: int) -> bytes:
    """Return up to `size` bytes of an open file from a place on; Windows has no `os.pread`."""
    os.lseek(descriptor, place, os.SEEK_SET)
    return os.read(descriptor, size)


def is_regular(path: Path) -> bool:
    """Return whether a path is a regular file or a link to one; False if that can't be found out."""
    with suppress(OSError, ValueError):
        return path.is_file()
    return False


def is_folder_at(path: Path) -> bool:
    """Return whether a path is a folder or a link to one; False if that can't be found out."""
    with suppress(OSError, ValueError):
        return path.is_dir()
    return False


def leads_out(path: Path, folder: Path) -> bool:
    """Return whether a path that begins with a folder leads out of it, by way of links."""
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def read_whole(path: Path, max_size: int, *, follows_links: bool = True) -> bytes:
    """Return the content of a regular file.

    Args:
        path: the file.
        max_size: the most bytes that it may have.
        follows_links: as for `open_file`.

    Raises:
        OSError: as for `open_file`, or it is larger.
    """
    with open_file(path, follows_links=follows_links) as file:
        content = file.read(max_size + 1)
    if len(content) > max_size:
        raise OSError(errno.EFBIG, f"it is larger than {max_size:,} bytes", str(path))
    return content


def read_json(
    path: Path, max_size: int = MAX_RECORDS_SIZE, *, follows_links: bool = True
) -> Mapping[str, Any]:
    """Return the object in a JSON file; empty if the file is missing, damaged, too large or not regular."""
    try:
        facts = json.loads(read_whole(path, max_size, follows_links=follows_links))
    except (OSError, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a regular file, in hexadecimal digits.

    Raises:
        OSError: the file can't be read.
    """
    with open_file(path) as file:
        return digest_of(file, "sha256").hexdigest()
