"""Waiting for folders that are gone: shares that dropped, and disks that were unplugged."""

import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock

from vidx4.jobs.folder.places import Places
from vidx4.jobs.stop import Stop
from vidx4.syntax import format_seconds

SHARE_SECONDS = 3600.0
"""How long a folder that is gone is waited for: as long as by a file at work."""
POLL_SECONDS = 1.0
"""Seconds between two looks at it."""


class Shares:
    """Waits for the folders of files, in whatever thread asks for them.

    Args:
        places: tells which are gone.
        tell: receives a sentence on what is waited for.
        stop: when set, ends the wait.
    """

    def __init__(self, places: Places, tell: Callable[[str], None], stop: Stop) -> None:
        self._places, self._tell, self._stop = places, tell, stop
        self._lock = Lock()  # held by the one thread that waits
        self.gone: Path | None = None
        """A folder that was waited for in vain."""

    def can_reach(self, path: Path) -> bool:
        """Wait for the folders of a file, if they are gone; return whether they are there."""
        with self._lock:
            missing = None if self._is_over else self._places.missing(path)
            if missing is not None:
                self._wait_for(missing, path)
            return not self._is_over

    @property
    def _is_over(self) -> bool:
        return self._stop.is_set() or self.gone is not None

    def _wait_for(self, missing: Path, path: Path) -> None:
        self._tell(
            f"{missing} can't be reached. Waiting up to {format_seconds(SHARE_SECONDS)} for it; after "
            "Ctrl-C, the same command resumes."
        )
        end = time.monotonic() + SHARE_SECONDS
        while not self._stop.wait(POLL_SECONDS):
            if self._places.missing(path) is None:
                self._tell(f"{missing} is back.")
                return
            if time.monotonic() > end:
                self.gone = missing
                return
