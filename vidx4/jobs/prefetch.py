"""Stages that overlap: a thread makes the next items while the last ones are used."""

import time
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Generic, TypeVar

from vidx4.errors import SourceError
from vidx4.jobs.waiting import POLL_SECONDS, next_item
from vidx4.media.stall import Pulse, gave_up

Item = TypeVar("Item")


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
            thread.join(patience)  # it may have got stuck while nobody was waiting for it


def _impatient(patience: float | None, pulse: Pulse | None, what: str) -> Callable[[], None]:
    """Return what ends the wait for one item; while the consumer is busy, no time is counted."""
    begun = time.monotonic()

    def check() -> None:
        last = max(begun, pulse.last) if pulse else begun
        if patience is not None and time.monotonic() >= last + patience:
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
