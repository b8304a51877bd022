"""Stages overlap, keep order, pass errors on, and end when nobody listens."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest

from vidx4.errors import SourceError
from vidx4.jobs.prefetch import ahead, settled
from vidx4.media.stall import Pulse, watched


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
    assert third.wait(timeout=10)
    time.sleep(0.5)  # enough to go on, if it did
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
    """Make one item, then do what a decoder does that is stuck."""
    yield 0
    release.wait(20)


@pytest.fixture
def release() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_what_makes_no_progress_is_given_up(release: threading.Event) -> None:
    stage = ahead(blocked(release), patience=0.2, what="The decoder of a.mp4")
    assert next(stage) == 0
    begun = time.monotonic()
    with pytest.raises(SourceError, match=r"The decoder of a\.mp4 has made no progress for 0 s"):
        next(stage)
    assert time.monotonic() - begun < 5


def test_closing_waits_for_what_is_stuck_no_longer_than_patience(release: threading.Event) -> None:
    stage = ahead(blocked(release), patience=0.2)
    next(stage)
    begun = time.monotonic()
    stage.close()
    assert time.monotonic() - begun < 5


def test_the_time_of_the_consumer_is_not_counted() -> None:
    slow = ahead(range(4), depth=1, patience=1.0)
    for expected in range(4):
        assert next(slow) == expected
        time.sleep(1.2)


def test_what_goes_on_without_an_item_is_not_given_up() -> None:
    pulse = Pulse()

    def items() -> Iterator[int]:
        for _ in range(30):  # half as long again as the patience
            time.sleep(0.1)
            pulse.beat()
        yield 0

    assert list(ahead(items(), patience=2.0, pulse=pulse)) == [0]


class Told(Exception):  # noqa: N818  # it is not an error
    """What a handler raises."""


@pytest.fixture
def slow_but_told() -> Iterator[Callable[[], Iterator[int]]]:
    """Return what makes an item in a long time, in which its own thread gets a signal."""
    release = threading.Event()

    def handle(*_: object) -> None:
        release.set()
        raise Told

    def items() -> Iterator[int]:
        time.sleep(0.3)  # the main thread waits by now
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        release.wait(20)
        yield 0

    before = signal.signal(signal.SIGUSR1, handle)
    yield items
    release.set()
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("patience", [None, 30.0])
def test_a_signal_is_heeded_whichever_thread_gets_it(
    slow_but_told: Callable[[], Iterator[int]], patience: float | None
) -> None:
    begun = time.monotonic()
    stage = ahead(slow_but_told(), patience=patience)
    with pytest.raises(Told):
        next(stage)
    assert time.monotonic() - begun < 15


def test_a_signal_is_heeded_while_work_is_watched(slow_but_told: Callable[[], Iterator[int]]) -> None:
    begun = time.monotonic()
    with pytest.raises(Told):
        watched(lambda pulse: next(slow_but_told()), "Work")
    assert time.monotonic() - begun < 15


def test_a_signal_is_heeded_while_a_future_is_waited_for(
    slow_but_told: Callable[[], Iterator[int]],
) -> None:
    future: Future[int] = Future()
    begun = time.monotonic()
    threading.Thread(target=lambda: future.set_result(next(slow_but_told()))).start()
    with pytest.raises(Told):
        settled(future)
    assert time.monotonic() - begun < 15
