"""Stages that overlap: the next items are made in a thread while the last are used."""

import time
from collections.abc import Generator, Iterable
from concurrent.futures import Future, wait
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Generic, TypeVar

from vidx4.errors import SourceError
from vidx4.media.stall import Pulse, gave_up

Item = TypeVar("Item")

POLL_SECONDS = 0.1
"""The longest wait at one go. Python runs the handlers of signals in the main thread, and the system may have
interrupted another one: a main thread that waits for good would not heed Ctrl-C."""


class _Stop(Generic[Item]):
    """The end of the items, and the error that ended them if one did."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


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
        items: made in the thread.
        depth: how many wait for the consumer.
        patience: seconds for which the consumer waits for an item or a beat; for ever where None.
        pulse: beaten in the thread by what takes long, but goes on.
        what: makes the items, as the start of a sentence.

    Raises:
        SourceError: neither came in time; the thread is left behind.
    """
    queue: Queue[Item | _Stop[Item]] = Queue(depth)
    closed = Event()
    thread = Thread(target=_produce, args=(items, queue, closed), daemon=True)
    thread.start()
    is_stuck = False
    try:
        while not isinstance(item := _take(queue, patience, pulse or Pulse()), _Stop):
            yield item
        if item.error is not None:
            raise item.error
    except Empty:
        is_stuck = True
        assert patience is not None
        raise SourceError(gave_up(what, patience)) from None
    finally:
        closed.set()
        _drain(queue)
        if not is_stuck:
            thread.join(patience)  # it may have got stuck while nobody waited for it


def _take(queue: Queue[Item], patience: float | None, pulse: Pulse) -> Item:
    begun = time.monotonic()  # of the wait: while the consumer is at work, nothing need go on
    while patience is None or time.monotonic() < max(begun, pulse.last) + patience:
        with suppress(Empty):
            return queue.get(timeout=POLL_SECONDS)
    raise Empty


def _produce(items: Iterable[Item], queue: Queue[Item | _Stop[Item]], closed: Event) -> None:
    error: BaseException | None = None
    try:
        for item in items:
            if not _put(queue, item, closed):
                break
    except BaseException as raised:
        error = raised
    finally:
        # Ends the stages before this one, in the thread that they belong to.
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


def settled(future: Future[Item]) -> Item:
    """Wait for what comes of a future, and heed signals meanwhile."""
    while not wait([future], timeout=POLL_SECONDS).done:
        pass
    return future.result()
