"""Waits that wake up now and then: signals are handled meanwhile, and a stop is noticed."""

from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import Empty, Queue
from threading import Thread
from typing import TypeVar

Result = TypeVar("Result")
Check = Callable[[], object]

POLL_SECONDS = 0.1
"""Longest single wait. Python runs signal handlers in the main thread only, and the system may have
interrupted another one: a main thread that waits without a limit would not heed Ctrl-C."""


def _no_check() -> None:
    pass


def poll(attempt: Callable[[float], Result | None], check: Check = _no_check) -> Result:
    """Try again and again until there is a result.

    Args:
        attempt: waits for at most the given number of seconds; its first true value is the result.
        check: called before each attempt; ends the wait by raising.
    """
    while True:
        check()
        if result := attempt(POLL_SECONDS):
            return result


def next_item(queue: Queue[Result], check: Check = _no_check) -> Result:
    """Wait for the next item of a queue; arguments are those of `poll`."""

    def attempt(seconds: float) -> tuple[Result] | None:
        try:
            return (queue.get(timeout=seconds),)  # a tuple, since the item itself may be false
        except Empty:
            return None

    return poll(attempt, check)[0]


def result_of(future: Future[Result]) -> Result:
    """Wait for a future, and return its result or raise its error."""
    poll(lambda seconds: wait([future], timeout=seconds).done)
    return future.result()


def join_thread(thread: Thread, check: Check = _no_check) -> None:
    """Wait for the end of a thread; arguments are those of `poll`."""

    def attempt(seconds: float) -> bool:
        thread.join(seconds)
        return not thread.is_alive()

    poll(attempt, check)
