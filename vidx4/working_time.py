"""A clock that stands still while the process is stopped, as by Ctrl-Z, or waits, or the machine sleeps.

`time.monotonic` stands still while the machine sleeps on Linux and macOS, and runs on Windows: a gap there is
like that of a process that was stopped.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from threading import Lock, Thread

TICK_SECONDS = 0.5
"""Time between two signs of life of a process that runs."""
LONGEST_SECONDS = 5.0
"""Longest time between two signs of life that a loaded machine explains; after more, it was stopped."""


class WorkingTime:
    """Adds up the seconds in which a process could work, from signs of life that have to come regularly.

    Args:
        clock: returns seconds, and never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self._seconds = 0.0
        self._num_waits = 0
        self._lock = Lock()

    @property
    def seconds(self) -> float:
        """Seconds since the first sign of life; asking is one as well."""
        with self._lock:
            now = self._clock()
            gap, self._last = now - self._last, now
            if not self._num_waits:
                self._seconds += gap if gap <= LONGEST_SECONDS else TICK_SECONDS
            return self._seconds

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let no time pass during a block; blocks of several threads may overlap."""
        self._add_waits(1)
        try:
            yield
        finally:
            self._add_waits(-1)

    def _add_waits(self, number: int) -> None:
        _ = self.seconds
        with self._lock:
            self._num_waits += number


def working_seconds() -> float:
    """Return seconds of this process's working time, to be compared with earlier ones."""
    return _of_this_process().seconds


def waiting() -> AbstractContextManager[None]:
    """Let no working time of this process pass during a block: it waits for something outside of it."""
    return _of_this_process().waiting()


@cache
def _of_this_process() -> WorkingTime:
    time_ = WorkingTime()
    Thread(target=_keep, args=(time_,), daemon=True).start()
    return time_


def _keep(working_time: WorkingTime) -> None:
    while True:
        time.sleep(TICK_SECONDS)
        _ = working_time.seconds
