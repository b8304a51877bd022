"""Names for what is being written, and how other processes know that it still is.

A process that is killed leaves files and folders without their final names. Beside each lies a mark, a file
that its writer has locked. The file itself would not do: on Windows, what is locked can't be written to by a
library that opens it again, what is open can't be renamed, and a folder can't be locked at all.
"""

import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from secrets import token_hex

from vidx4.files.flags import BINARY, NO_FOLLOW
from vidx4.files.lock import close_locked, try_lock
from vidx4.files.read import open_regular

_MARK = ".mark"
_HIDDEN = re.compile(rf"\.[0-9a-f]{{16}}\.[0-9a-f]{{16}}({_MARK})?\.(unfinished|old)")


def hidden_name(name: str, state: str) -> str:
    """Return a new name of fixed length, since `name` may be as long as a file system allows already."""
    return f".{_digest(name)}.{token_hex(8)}.{state}"


def _digest(name: str) -> str:
    return sha256(os.fsencode(name)).hexdigest()[:16]


def is_hidden_name(name: str) -> bool:
    """Return whether a name is one under which this room writes a file or a folder."""
    return _HIDDEN.fullmatch(name) is not None


@contextmanager
def marked(path: Path) -> Iterator[None]:
    """Show other processes during a block that the file or the folder with a hidden name is being written.

    Raises:
        OSError: nothing can be written beside it.
    """
    mark = _mark(path)
    descriptor = os.open(mark, os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_FOLLOW | BINARY, 0o600)
    try:
        with suppress(OSError):  # on file systems without locks
            try_lock(descriptor)
        yield
    finally:
        close_locked(descriptor)
        with suppress(OSError):
            mark.unlink()


def _mark(path: Path) -> Path:
    return path.with_name(f"{path.stem}{_MARK}{path.suffix}")


def remove_remains(path: Path, state: str = "unfinished") -> None:
    """Remove what killed runs have left of a file or a folder; a run that still works has locked its mark."""
    name = re.compile(rf"(\.{_digest(path.name)}\.[0-9a-f]{{16}})({_MARK})?\.{state}")
    with suppress(OSError):
        found = filter(None, (name.fullmatch(each.name) for each in path.parent.iterdir()))
        for stem in {each[1] for each in found}:
            with suppress(OSError):
                _remove_unmarked(path.with_name(f"{stem}.{state}"))


def _remove_unmarked(remains: Path) -> None:
    """Remove a file or a folder and its mark, unless it is still being written.

    Raises:
        OSError: that can't be found out, or it can't be removed.
    """
    mark = _mark(remains)
    if not os.path.lexists(mark):
        _remove(remains)
        return
    descriptor = open_regular(mark, os.O_RDWR)
    try:
        if not try_lock(descriptor):
            return
        _remove(remains)
    finally:
        close_locked(descriptor)
    mark.unlink()


def _remove(remains: Path) -> None:
    mode = remains.lstat().st_mode if os.path.lexists(remains) else 0
    if stat.S_ISREG(mode):
        remains.unlink()
    elif stat.S_ISDIR(mode):
        shutil.rmtree(remains)
