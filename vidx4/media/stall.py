"""Work that is given up when it stops going on: a decoder may loop for ever on damaged data."""

import time
from collections.abc import Callable
from threading import Thread
from typing import TypeVar

from vidx4.errors import SourceError

PATIENCE = 300.0
"""Seconds without progress after which work is given up."""
_POLL_SECONDS = 0.5

Result = TypeVar("Result")


class Pulse:
    """Tells one thread that another goes on, though it may be long until its next item."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def beat(self) -> None:
        """Say that something was done."""
        self.last = time.monotonic()


def watched(work: Callable[[Pulse], Result], what: str, patience: float = PATIENCE) -> Result:
    """Do work in a thread of its own, for as long as it goes on.

    Args:
        work: beats the pulse that it is given.
        what: does it, as the start of a sentence.
        patience: seconds from one beat to the next.

    Raises:
        SourceError: no beat came in time; the thread is left behind, since nothing can end it.
    """
    pulse = Pulse()
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work(pulse))
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        left = pulse.last + patience - time.monotonic()
        if left <= 0:
            raise SourceError(gave_up(what, patience))
        thread.join(min(left, _POLL_SECONDS))
    if errors:
        raise errors[0]
    return results[0]


def gave_up(what: str, patience: float) -> str:
    """Return the sentence that says so."""
    return f"{what} has made no progress for {patience:.0f} s: it is given up."
