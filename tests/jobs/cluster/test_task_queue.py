"""Tasks and workers: which worker does what, and what happens when one is lost."""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import TypeAlias

import pytest

from tests.jobs.test_threads import Check
from vidx4.errors import SourceError, StoppedError, WorkerError
from vidx4.jobs.cluster.task_queue import (
    NO_WORK,
    QUEUED_PER_WORKER,
    QueueStats,
    Task,
    TaskCancelled,
    TaskQueue,
    WorkerLost,
    WorkItem,
    WorkSize,
)

ONE = WorkSize(1, 10)
CAPACITY = WorkSize(100, 1000)
PATIENCE = 120.0
"""Seconds after which something that should happen is taken to hang, even on a busy machine."""


@dataclass(eq=False)
class FakeWorker:
    """A worker that records what it does."""

    done: list[str] = field(default_factory=list)
    firsts: list[bool] = field(default_factory=list)
    may_finish: Event = field(default_factory=Event)
    num_losses: int = 0
    """How often it dies before it does anything."""


Queue: TypeAlias = TaskQueue[FakeWorker]


@dataclass
class Item(WorkItem[FakeWorker]):
    """A work item that records its name."""

    name: str
    size: WorkSize = ONE

    def run(self, worker: FakeWorker, *, is_first: bool) -> None:
        if worker.num_losses:
            worker.num_losses -= 1
            raise WorkerLost("It died.")
        worker.done.append(self.name)
        worker.firsts.append(is_first)


@dataclass
class Failing(WorkItem[FakeWorker]):
    error: Exception
    size: WorkSize = ONE

    def run(self, worker: FakeWorker, *, is_first: bool) -> None:
        raise self.error


@dataclass
class Blocking(WorkItem[FakeWorker]):
    """A work item that takes until its worker may finish it."""

    size: WorkSize = ONE

    def run(self, worker: FakeWorker, *, is_first: bool) -> None:
        assert worker.may_finish.wait(PATIENCE)


class RecordingTask(Task[FakeWorker]):
    """A task that records what went wrong."""

    def __init__(self, priority: int = 0) -> None:
        self.errors: list[BaseException] = []
        super().__init__(priority, "a task", self.errors.append)


@pytest.fixture
def queue() -> Queue:
    return TaskQueue(CAPACITY, 1)


@pytest.fixture
def threads(queue: Queue) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor
        queue.shut_down(WorkerError("over"))


def send(
    queue: Queue,
    task: Task[FakeWorker],
    *items: WorkItem[FakeWorker],
    is_complete: bool = True,
) -> None:
    for item in items:
        queue.reserve(task, item.size)
        queue.add(task, item)
    if is_complete:
        queue.complete(task)
    queue.submit(task)


def wait_until(queue: Queue, condition: Callable[[QueueStats], bool]) -> None:
    """Wait for something that other threads are about to do."""
    deadline = time.monotonic() + PATIENCE
    while not condition(stats := queue.stats()):
        assert time.monotonic() < deadline, stats
        time.sleep(0.01)


def is_done(stats: QueueStats) -> bool:
    """Return whether all work that is known is done."""
    return stats.num_waiting == 0 and stats.size == NO_WORK


def test_the_longest_task_comes_first_among_those_of_one_priority(
    queue: Queue, threads: ThreadPoolExecutor
) -> None:
    send(queue, RecordingTask(1), *map(Item, "abc"))
    send(queue, RecordingTask(0), *map(Item, "de"))
    send(queue, RecordingTask(0), *map(Item, "fgh"))
    worker = FakeWorker()
    threads.submit(queue.run_tasks, worker)
    wait_until(queue, is_done)
    assert "".join(worker.done) == "fghdeabc"
    assert worker.firsts == [True, False, False, True, False, True, False, False]


def test_a_second_task_is_left_to_an_idle_worker(queue: Queue, threads: ThreadPoolExecutor) -> None:
    busy, idle = FakeWorker(), FakeWorker()
    send(queue, RecordingTask(), Blocking())
    threads.submit(queue.run_tasks, busy)
    wait_until(queue, lambda stats: stats.num_running == 1)
    work = threads.submit(queue.run_tasks, idle)
    wait_until(queue, lambda stats: stats.num_workers == 2)
    threads.submit(queue.run_tasks, busy)  # its second thread
    send(queue, RecordingTask(), Item("a"))
    wait_until(queue, lambda stats: stats.size == ONE)
    assert (busy.done, idle.done) == ([], ["a"])
    assert not work.done()
    send(queue, RecordingTask(), Blocking())
    wait_until(queue, lambda stats: stats.num_waiting == 0)
    send(queue, RecordingTask(), Item("b"))  # now nobody is idle
    wait_until(queue, lambda stats: stats.size.num_frames == 2)
    assert busy.done == ["b"]
    for worker in (busy, idle):
        worker.may_finish.set()


def test_items_may_be_added_while_a_task_runs(queue: Queue, threads: ThreadPoolExecutor) -> None:
    worker, task = FakeWorker(), RecordingTask()
    send(queue, task, Item("a"), is_complete=False)
    threads.submit(queue.run_tasks, worker)
    wait_until(queue, is_done)
    for name in "bc":
        queue.reserve(task, ONE)
        queue.add(task, Item(name))
    queue.complete(task)
    wait_until(queue, is_done)
    assert "".join(worker.done) == "abc"


def test_another_worker_resumes_at_the_item_that_was_not_done(
    queue: Queue, threads: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    task, next_ = RecordingTask(), FakeWorker()
    send(queue, task, *map(Item, "ab"))
    with pytest.raises(WorkerLost):
        queue.run_tasks(FakeWorker(num_losses=1))
    threads.submit(queue.run_tasks, next_)
    wait_until(queue, is_done)
    assert (next_.done, next_.firsts) == (["a", "b"], [True, False])
    assert not task.errors
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "It died." in record.getMessage()
    assert "a task" in record.getMessage()


def test_a_lost_worker_takes_no_more_tasks_in_any_thread(queue: Queue, threads: ThreadPoolExecutor) -> None:
    worker, other, task = FakeWorker(num_losses=1), FakeWorker(), RecordingTask()
    idle = threads.submit(queue.run_tasks, worker)
    wait_until(queue, lambda stats: stats.num_workers == 1)
    send(queue, task, Item("a"))
    with pytest.raises(WorkerLost):
        idle.result(PATIENCE)
    queue.run_tasks(worker)
    threads.submit(queue.run_tasks, other)
    wait_until(queue, is_done)
    assert (worker.done, other.done, task.errors) == ([], ["a"], [])


def test_after_three_retries_a_task_fails_and_the_others_continue(
    queue: Queue, threads: ThreadPoolExecutor
) -> None:
    task = RecordingTask()
    send(queue, task, Item("a"))
    for _ in range(4):
        assert not task.errors
        with pytest.raises(WorkerLost):
            queue.run_tasks(FakeWorker(num_losses=1))
    (error,) = task.errors
    assert isinstance(error, WorkerError)
    assert str(error).startswith("4 ")
    assert "a task" in str(error)
    assert "It died." in str(error)
    worker = FakeWorker()
    send(queue, RecordingTask(), Item("b"))
    threads.submit(queue.run_tasks, worker)
    wait_until(queue, is_done)
    assert worker.done == ["b"]


def test_attempts_are_counted_again_for_each_item(queue: Queue, threads: ThreadPoolExecutor) -> None:
    class Deadly(Item):
        def run(self, worker: FakeWorker, *, is_first: bool) -> None:
            if worker.done:
                raise WorkerLost("It died.")
            super().run(worker, is_first=is_first)

    task = RecordingTask()
    send(queue, task, *map(Deadly, "abcdef"))
    workers = [FakeWorker() for _ in range(6)]
    for worker in workers[:5]:
        with pytest.raises(WorkerLost):
            queue.run_tasks(worker)
    threads.submit(queue.run_tasks, workers[5])
    wait_until(queue, is_done)
    assert [worker.done for worker in workers] == [[name] for name in "abcdef"]
    assert not task.errors


def test_an_error_ends_only_its_own_task(queue: Queue, threads: ThreadPoolExecutor) -> None:
    bad, good, worker = RecordingTask(0), RecordingTask(1), FakeWorker()
    send(queue, bad, Failing(SourceError("broken")), Item("never"))
    send(queue, good, Item("a"))
    threads.submit(queue.run_tasks, worker)
    wait_until(queue, is_done)
    assert [str(error) for error in bad.errors] == ["broken"]
    assert worker.done == ["a"]


def test_reserving_waits_for_room_but_a_single_item_may_be_larger(
    queue: Queue, threads: ThreadPoolExecutor
) -> None:
    large = WorkSize(1, CAPACITY.num_bytes + 1)
    first, second = RecordingTask(), RecordingTask()
    send(queue, first, Item("large", large))
    waiting = threads.submit(queue.reserve, second, ONE)
    time.sleep(0.1)
    assert not waiting.done()
    threads.submit(queue.run_tasks, FakeWorker())
    waiting.result(PATIENCE)


def test_a_cancelled_task_frees_its_room(queue: Queue, threads: ThreadPoolExecutor) -> None:
    task, other = RecordingTask(), RecordingTask()
    send(queue, task, Item("a", CAPACITY))
    waiting = threads.submit(queue.reserve, other, ONE)
    queue.cancel(task)
    waiting.result(PATIENCE)
    with pytest.raises(TaskCancelled):
        queue.reserve(task, CAPACITY)
    assert not task.errors


def test_a_check_ends_the_wait_for_room(queue: Queue, threads: ThreadPoolExecutor) -> None:
    send(queue, RecordingTask(), Item("a", CAPACITY))
    waiting = threads.submit(queue.reserve, RecordingTask(), ONE, Check())
    with pytest.raises(StoppedError):
        waiting.result(PATIENCE)
    assert queue.stats().size == CAPACITY


def test_a_check_ends_the_wait_to_be_queued_and_frees_the_room(
    queue: Queue, threads: ThreadPoolExecutor
) -> None:
    for _ in range(QUEUED_PER_WORKER):
        send(queue, RecordingTask())
    task = RecordingTask()
    queue.reserve(task, ONE)
    queue.add(task, Item("a"))
    waiting = threads.submit(queue.submit, task, Check())
    with pytest.raises(StoppedError):
        waiting.result(PATIENCE)
    stats = queue.stats()
    assert (stats.num_waiting, stats.size) == (QUEUED_PER_WORKER, NO_WORK)


def test_a_worker_that_is_marked_as_lost_ends_its_threads(queue: Queue, threads: ThreadPoolExecutor) -> None:
    worker = FakeWorker()
    idle = [threads.submit(queue.run_tasks, worker) for _ in range(2)]
    wait_until(queue, lambda stats: stats.num_workers == 1)
    queue.mark_lost(worker)
    for each in idle:
        each.result(PATIENCE)


def test_a_task_that_is_queued_again_while_the_queue_shuts_down_fails(queue: Queue) -> None:
    task, error = RecordingTask(), WorkerError("over")

    class ShutDown(logging.Handler):
        """Shuts the queue down as soon as it reports that another worker resumes the task."""

        def emit(self, _: logging.LogRecord) -> None:
            queue.shut_down(error)

    send(queue, task, Item("a"))
    logger, handler = logging.getLogger("vidx4.jobs.cluster.task_queue"), ShutDown()
    logger.addHandler(handler)
    try:
        with pytest.raises(WorkerLost):
            queue.run_tasks(FakeWorker(num_losses=1))
    finally:
        logger.removeHandler(handler)
    assert task.errors == [error]


def test_shutting_down_fails_all_tasks(queue: Queue, threads: ThreadPoolExecutor) -> None:
    waiting, unfinished, worker = RecordingTask(1), RecordingTask(0), FakeWorker()
    send(queue, unfinished, Item("a"), is_complete=False)
    work = threads.submit(queue.run_tasks, worker)
    wait_until(queue, is_done)
    send(queue, waiting, Item("b"))
    error = WorkerError("over")
    queue.shut_down(error)
    work.result(PATIENCE)
    assert waiting.errors == unfinished.errors == [error]
    with pytest.raises(WorkerError) as caught:
        queue.submit(RecordingTask())
    assert caught.value is error
