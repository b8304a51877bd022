"""Which files are whole: those that have not changed for a while, as far as looks at them show."""

import math
import time
from pathlib import Path

from vidx4.files.stamp import State, state

_NANOSECONDS = 10**9
_CLEARLY_OLD = 24 * 3600
"""Seconds after which a file is whole without a second look: no clock of a share is off by more, not even one
that takes its local time for that of all the world."""


class Settling:
    """Looks at files again and again, to tell which of them are still being written.

    The clock of a share may be off, and copies may get the time of their originals while they grow. So it is
    not the age of a file that counts, but what changes from one look to the next.

    Args:
        seconds: how long a file must not have changed.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._looks: dict[Path, tuple[State | None, float]] = {}
        """The state of each file, and since when it is known to be in it."""

    def is_settled(self, path: Path) -> bool:
        """Look at a file, and return whether it is whole, or gone."""
        now, found = time.monotonic(), state(path)
        if path not in self._looks:
            self._looks[path] = found, -math.inf if found is None or _is_old(found) else now
        elif self._looks[path][0] != found:
            self._looks[path] = found, -math.inf if found is None else now
        return now - self._looks[path][1] >= self.seconds


def _is_old(found: State) -> bool:
    _, modified, changed, _ = found
    return max(modified, changed) / _NANOSECONDS < time.time() - _CLEARLY_OLD
