"""Give up work that makes no progress: on damaged data, a decoder may loop for ever."""

from collections.abc import Callable, Iterable, Iterator
from threading import Thread
from typing import TypeVar

from vidx4.errors import SourceError
from vidx4.working_time import working_seconds

PATIENCE = 300.0
"""Seconds without progress after which work is given up."""
_POLL_SECONDS = 0.5

Item = TypeVar("Item")
Result = TypeVar("Result")


class Pulse:
    """A sign of life that one thread gives another, since its next result may take long."""

    def __init__(self) -> None:
        self.last = working_seconds()

    def beat(self) -> None:
        """Record that progress was made."""
        self.last = working_seconds()

    def each(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield items, each of which is progress."""
        for item in items:
            self.beat()
            yield item


def watched(work: Callable[[Pulse], Result], what: str, patience: float = PATIENCE) -> Result:
    """Return the result of work that is done in a thread, for as long as it makes progress.

    Args:
        work: the work, which beats the pulse that it is given.
        what: a name of the work, which begins the sentence of an error, such as `Reading a.mp4`.
        patience: seconds to wait for the next beat.

    Raises:
        SourceError: no beat came in time. The thread is abandoned, since Python can't end it.
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
        left = pulse.last + patience - working_seconds()
        if left <= 0:
            raise SourceError(gave_up(what, patience))
        thread.join(min(left, _POLL_SECONDS))
    if errors:
        raise errors[0]
    return results[0]


def gave_up(what: str, patience: float) -> str:
    """Return the message about work that was given up."""
    return f"{what} has made no progress for {patience:.0f} s and was given up."
