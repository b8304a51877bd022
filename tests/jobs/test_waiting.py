"""Waits return what they wait for, and end when a check raises."""

from concurrent.futures import Future
from queue import Queue
from threading import Event, Thread

import pytest

from vidx4.errors import StoppedError
from vidx4.jobs.waiting import join_thread, next_item, poll, result_of


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
