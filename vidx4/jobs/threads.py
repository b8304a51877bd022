"""Threads: stages that overlap, and waits during which signals are handled and a stop is noticed."""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, wait
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Generic, TypeVar

from vidx4.errors import SourceError
from vidx4.media.stall import Pulse, gave_up
from vidx4.working_time import working_seconds

Item = TypeVar("Item")
Result = TypeVar("Result")
Check = Callable[[], object]

POLL_SECONDS = 0.1
"""Longest single wait. Python runs signal handlers in the main thread only, and the system may have
interrupted another one: a main thread that waits without a limit would not heed Ctrl-C."""


def no_check() -> None:
    """Let a wait continue."""


def poll(attempt: Callable[[float], Result | None], check: Check = no_check) -> Result:
    """Try again and again until there is a result.

    Args:
        attempt: waits for at most the given number of seconds; its first true value is the result.
        check: called before each attempt; ends the wait by raising.
    """
    while True:
        check()
        if result := attempt(POLL_SECONDS):
            return result


def next_item(queue: Queue[Result], check: Check = no_check) -> Result:
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


def join_thread(thread: Thread, check: Check = no_check) -> None:
    """Wait for the end of a thread; arguments are those of `poll`."""

    def attempt(seconds: float) -> bool:
        thread.join(seconds)
        return not thread.is_alive()

    poll(attempt, check)


class _Stop(Generic[Item]):
    """The end of the items, with the error that caused it, if any."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Stuck(Exception):  # noqa: N818  # not an error of an item
    """The thread makes no progress."""


def ahead(
    items: Iterable[Item],
    depth: int = 2,
    *,
    patience: float | None = None,
    pulse: Pulse | None = None,
    what: str = "A stage",
) -> Generator[Item]:
    """Make items in a thread of their own, at most `depth` ahead of the consumer.

    An error while making an item is raised where the item would have come. Closing the generator ends the
    thread after the item that it is making.

    Args:
        items: the items; they are made in the thread.
        depth: how many may wait for the consumer.
        patience: seconds that the consumer waits for an item or a beat of the pulse; None for no limit.
        pulse: beaten in the thread by work that takes long but makes progress.
        what: what makes the items, as the start of a sentence.

    Raises:
        SourceError: no item and no beat came in time; the thread is left behind.
    """
    queue: Queue[Item | _Stop[Item]] = Queue(depth)
    closed, is_stuck = Event(), False
    thread = Thread(target=_produce, args=(items, queue, closed), daemon=True)
    thread.start()
    try:
        while not isinstance(item := next_item(queue, _impatient(patience, pulse, what)), _Stop):
            yield item
        if item.error is not None:
            raise item.error
    except _Stuck as error:
        is_stuck = True
        raise SourceError(str(error)) from None
    finally:
        closed.set()
        _drain(queue)
        if not is_stuck:
            with suppress(_Stuck):  # it may have got stuck while nobody was waiting for it
                join_thread(thread, _impatient(patience, None, what))


def _impatient(patience: float | None, pulse: Pulse | None, what: str) -> Callable[[], None]:
    """Return what ends one wait for the thread; while the consumer is busy, no time is counted."""
    begun = working_seconds()

    def check() -> None:
        last = max(begun, pulse.last) if pulse else begun
        if patience is not None and working_seconds() >= last + patience:
            raise _Stuck(gave_up(what, patience))

    return check


def _produce(items: Iterable[Item], queue: Queue[Item | _Stop[Item]], closed: Event) -> None:
    error: BaseException | None = None
    try:
        for item in items:
            if not _put(queue, item, closed):
                break
    except BaseException as raised:
        error = raised
    finally:
        # Ends the earlier stages too, in the thread that they belong to.
        if isinstance(items, Generator):
            items.close()
        _put(queue, _Stop(error), closed)


def _put(queue: Queue[Item | _Stop[Item]], item: Item | _Stop[Item], closed: Event) -> bool:
    while not closed.is_set():
        with suppress(Full):
            queue.put(item, timeout=POLL_SECONDS)
            return True
    return False


def _drain(queue: Queue[Item]) -> None:
    with suppress(Empty):
        while True:
            queue.get_nowait()
