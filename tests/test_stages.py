"""Stages overlap, keep order, pass errors on, and end when nobody listens."""

import threading
import time
from collections.abc import Iterator

import pytest

from vidx4.errors import SourceError
from vidx4.jobs.stages import ahead
from vidx4.media.watch import Pulse


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
    slow = ahead(range(6), depth=1, patience=0.2)
    for expected in range(6):
        assert next(slow) == expected
        time.sleep(0.3)


def test_what_goes_on_without_an_item_is_not_given_up() -> None:
    pulse = Pulse()

    def items() -> Iterator[int]:
        for _ in range(8):  # four times as long as the patience
            time.sleep(0.1)
            pulse.beat()
        yield 0

    assert list(ahead(items(), patience=0.2, pulse=pulse)) == [0]
