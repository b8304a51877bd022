"""Stages overlap, keep order, pass errors on, and end when nobody listens."""

import threading
import time
from collections.abc import Iterator

import pytest

from vidx4.jobs.stages import ahead


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
