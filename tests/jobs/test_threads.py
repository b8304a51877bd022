"""Stages overlap, keep order, pass errors on, and end with their consumer."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import chain
from queue import Queue
from threading import Event, Thread

import pytest

from tests.capabilities import needs_signals
from vidx4.errors import SourceError, StoppedError
from vidx4.jobs.threads import ahead, join_thread, next_item, poll, result_of
from vidx4.media.stall import Pulse, watched

HANG = 120.0
"""Seconds for which something is stuck."""
PATIENCE = 60.0
"""Seconds in which it must have been noticed, even on a busy machine."""


def test_keeps_every_item_in_order() -> None:
    assert list(ahead(range(100), depth=3)) == list(range(100))


def test_makes_items_in_another_thread() -> None:
    assert list(ahead(threading.get_ident() for _ in range(2))) != [threading.get_ident()] * 2


def test_runs_no_further_ahead_than_its_depth() -> None:
    made: list[int] = []
    third = threading.Event()

    def items() -> Iterator[int]:
        for i in range(10):
            made.append(i)
            if i == 3:
                third.set()
            yield i

    stage = ahead(items(), depth=2)
    assert next(stage) == 0
    assert third.wait(PATIENCE)
    time.sleep(0.5)  # long enough to make another, if it did
    assert made == [0, 1, 2, 3]  # one used, two waiting, one ready to wait
    stage.close()


def test_an_error_comes_where_the_item_would_have_come() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    stage = ahead(items())
    assert next(stage) == 1
    with pytest.raises(ValueError, match="broken"):
        next(stage)


def test_closing_ends_the_thread_and_the_stages_before() -> None:
    ended = threading.Event()

    def items() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            ended.set()

    num_threads = threading.active_count()
    stage = ahead(ahead(items()))
    next(stage)
    stage.close()
    assert ended.is_set()
    assert threading.active_count() == num_threads


def blocked(release: threading.Event) -> Iterator[int]:
    """Make one item, then hang as a decoder may."""
    yield 0
    release.wait(HANG)


@pytest.fixture
def release() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_a_thread_without_progress_is_given_up(release: threading.Event) -> None:
    stage = ahead(blocked(release), patience=0.2, what="The decoder of a.mp4")
    assert next(stage) == 0
    begun = time.monotonic()
    with pytest.raises(SourceError, match=r"The decoder of a\.mp4"):
        next(stage)
    assert time.monotonic() - begun < PATIENCE


def test_closing_waits_no_longer_than_the_patience(release: threading.Event) -> None:
    stage = ahead(blocked(release), patience=0.2)
    next(stage)
    begun = time.monotonic()
    stage.close()
    assert time.monotonic() - begun < PATIENCE


@pytest.mark.slow
def test_time_that_the_consumer_takes_is_not_counted() -> None:
    stage = ahead(range(3), depth=1, patience=2.0)
    for expected in range(3):
        assert next(stage) == expected
        time.sleep(2.2)


def test_a_beating_pulse_is_progress() -> None:
    pulse = Pulse()

    def items() -> Iterator[int]:
        for _ in range(30):  # longer than the patience in all
            time.sleep(0.1)
            pulse.beat()
        yield 0

    assert list(ahead(items(), patience=2.0, pulse=pulse)) == [0]


class Signalled(Exception):  # noqa: N818  # not an error
    """Raised by the handler of the signal."""


@pytest.fixture
def slow_with_signal() -> Iterator[Callable[[], Iterator[int]]]:
    """Return what makes an item slowly, while its own thread gets a signal."""
    release = threading.Event()

    def handle(*_: object) -> None:
        release.set()
        raise Signalled

    def items() -> Iterator[int]:
        time.sleep(0.3)  # the main thread waits by now
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        release.wait(HANG)
        yield 0

    before = signal.signal(signal.SIGUSR1, handle)
    yield items
    release.set()
    signal.signal(signal.SIGUSR1, before)


@needs_signals
@pytest.mark.parametrize("patience", [None, 30.0])
def test_a_signal_is_heeded_whichever_thread_gets_it(
    slow_with_signal: Callable[[], Iterator[int]], patience: float | None
) -> None:
    begun = time.monotonic()
    stage = ahead(slow_with_signal(), patience=patience)
    with pytest.raises(Signalled):
        next(stage)
    assert time.monotonic() - begun < PATIENCE


@needs_signals
def test_a_signal_is_heeded_while_a_stage_is_closed(
    slow_with_signal: Callable[[], Iterator[int]],
) -> None:
    def close_after_first() -> None:
        stage = ahead(chain([0], slow_with_signal()))
        next(stage)
        stage.close()

    begun = time.monotonic()
    with pytest.raises(Signalled):
        close_after_first()
    assert time.monotonic() - begun < PATIENCE


@needs_signals
def test_a_signal_is_heeded_while_work_is_watched(slow_with_signal: Callable[[], Iterator[int]]) -> None:
    begun = time.monotonic()
    with pytest.raises(Signalled):
        watched(lambda pulse: next(slow_with_signal()), "Work")
    assert time.monotonic() - begun < PATIENCE


@needs_signals
def test_a_signal_is_heeded_while_a_future_is_waited_for(
    slow_with_signal: Callable[[], Iterator[int]],
) -> None:
    future: Future[int] = Future()
    begun = time.monotonic()
    threading.Thread(target=lambda: future.set_result(next(slow_with_signal()))).start()
    with pytest.raises(Signalled):
        result_of(future)
    assert time.monotonic() - begun < PATIENCE


class Check:
    """Raises when it is called for the second time."""

    def __init__(self) -> None:
        self.num_calls = 0

    def __call__(self) -> None:
        self.num_calls += 1
        if self.num_calls == 2:
            raise StoppedError("Stopped.")


@pytest.mark.parametrize("item", [0, None, "", [], "text"])
def test_an_item_of_a_queue_may_be_false(item: object) -> None:
    queue: Queue[object] = Queue()
    queue.put(item)
    assert next_item(queue) is item


def test_a_check_ends_every_wait() -> None:
    event, queue = Event(), Queue[int]()
    thread = Thread(target=event.wait)
    thread.start()
    for wait in (
        lambda check: poll(event.wait, check),
        lambda check: next_item(queue, check),
        lambda check: join_thread(thread, check),
    ):
        check = Check()
        with pytest.raises(StoppedError):
            wait(check)
        assert check.num_calls == 2
    event.set()
    join_thread(thread)
    assert not thread.is_alive()


def test_a_future_gives_its_result_or_raises_its_error() -> None:
    good: Future[int] = Future()
    bad: Future[int] = Future()
    good.set_result(0)
    bad.set_exception(ValueError("broken"))
    assert result_of(good) == 0
    with pytest.raises(ValueError, match="broken"):
        result_of(bad)
