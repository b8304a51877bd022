"""Rename and remove files that other programs, such as virus scanners, have open for a moment."""

import errno
import time
from collections.abc import Callable
from pathlib import Path

from vidx4.files.flags import FREES_OPEN_FILES

_BUSY = (errno.EBUSY, errno.EACCES, errno.ETXTBSY)
"""What fails while another program uses a file; Windows says that access is denied."""
_WAITS = (0.1, 0.3, 1.0, 3.0)
"""Seconds to wait before another attempt."""


def rename(old: Path, new: Path) -> None:
    """Rename a file or a folder, in place of a file that has the name; wait a little if one of both is open.

    Raises:
        OSError: it can't be renamed.
    """
    _patiently(lambda: old.replace(new))


def remove(path: Path) -> None:
    """Remove a file, if it is still there; where open files can't be removed, wait a little.

    Raises:
        OSError: it can't be removed.
    """
    if FREES_OPEN_FILES:
        path.unlink(missing_ok=True)
    else:
        _patiently(lambda: path.unlink(missing_ok=True))


def _patiently(act: Callable[[], object]) -> None:
    for seconds in _WAITS:
        try:
            act()
            return
        except OSError as error:
            if error.errno not in _BUSY:
                raise
        time.sleep(seconds)
    act()
