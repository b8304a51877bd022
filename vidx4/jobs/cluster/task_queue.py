"""Tasks that wait for workers: which worker does what next, and what happens when one is lost."""

import logging
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition
from typing import Generic, TypeVar

from vidx4.errors import WorkerError
from vidx4.jobs.threads import Check, no_check, poll

_logger = logging.getLogger(__name__)

TASKS_PER_WORKER = 2
"""Tasks that a worker runs at once: while one's frames are encoded and sent, the other's are enlarged."""
MAX_ATTEMPTS = 4
"""Attempts in all: the first, and three retries."""
QUEUED_PER_WORKER = 4
"""Tasks that may wait for each worker: enough that a long one can start first, but not a whole folder's."""

Worker = TypeVar("Worker")
"""A worker, as whoever runs the tasks sees it."""


class WorkerLost(Exception):  # noqa: N818  # news; an error only if it happens again and again
    """A worker died, or can no longer be reached."""


class TaskCancelled(Exception):  # noqa: N818
    """Nobody wants the result of a task any more."""


@dataclass(frozen=True)
class WorkSize:
    """How large some work is."""

    num_frames: int
    num_bytes: int

    def __add__(self, other: "WorkSize") -> "WorkSize":
        return WorkSize(self.num_frames + other.num_frames, self.num_bytes + other.num_bytes)

    def __sub__(self, other: "WorkSize") -> "WorkSize":
        return WorkSize(self.num_frames - other.num_frames, self.num_bytes - other.num_bytes)

    def fits(self, capacity: "WorkSize") -> bool:
        """Return whether it is within a capacity."""
        return self.num_frames <= capacity.num_frames and self.num_bytes <= capacity.num_bytes


NO_WORK = WorkSize(0, 0)


@dataclass(frozen=True)
class QueueStats:
    """A snapshot of a queue."""

    num_workers: int
    """Workers that are alive, idle ones included."""
    num_waiting: int
    """Tasks that wait for a worker."""
    num_running: int
    """Tasks that a worker has."""
    size: WorkSize
    """All work that is reserved, waits or is being done."""


class WorkItem(ABC, Generic[Worker]):
    """One step of a task."""

    size: WorkSize

    @abstractmethod
    def run(self, worker: Worker, *, is_first: bool) -> None:
        """Have a worker do it, and deliver the result.

        Args:
            worker: the worker to use.
            is_first: whether the worker has done no earlier item of the task.

        Raises:
            WorkerLost: the worker died.
            TaskCancelled: nobody wants the result any more.
        """


class Task(Generic[Worker]):
    """Work items that one worker does in order, such as the chunks of a shot.

    Args:
        priority: tasks with a lower number come first.
        description: the task in words, for messages.
        on_failure: called with the error that ends the task.
    """

    def __init__(self, priority: int, description: str, on_failure: Callable[[BaseException], None]) -> None:
        self.priority = priority
        self.description = description
        self.on_failure = on_failure
        self.items: deque[WorkItem[Worker]] = deque()
        """Items that are known and not done yet."""
        self.is_complete = False
        """Whether no more items come."""
        self.is_cancelled = False
        self.num_attempts = 0
        """Attempts at the current item."""

    @property
    def num_frames(self) -> int:
        """Frames to be done, as far as is known."""
        return sum(item.size.num_frames for item in self.items)


class TaskQueue(Generic[Worker]):
    """Tasks that wait for workers, and workers that wait for tasks.

    Among the tasks with the lowest priority number, the longest comes first, so that no long one starts when
    all others are done. A task whose worker is lost is resumed by another at the item that was not delivered.

    Args:
        capacity: work that may wait or be in progress at once; a single item may be larger.
        num_workers: how many workers there will be.
    """

    def __init__(self, capacity: WorkSize, num_workers: int) -> None:
        self._capacity = capacity
        self._num_workers = num_workers
        self._changed = Condition()
        self._waiting: list[Task[Worker]] = []
        self._num_running: Counter[Worker] = Counter()
        """Tasks of each worker."""
        self._lost: set[Worker] = set()
        self._size = NO_WORK
        self._error: BaseException | None = None
        """Why the queue was shut down."""

    def stats(self) -> QueueStats:
        """Return a snapshot."""
        with self._changed:
            alive = self._num_running.keys() - self._lost
            return QueueStats(len(alive), len(self._waiting), self._num_running.total(), self._size)

    def reserve(self, task: Task[Worker], size: WorkSize, check: Check = no_check) -> None:
        """Wait until there is room for an item; one of the same size must be added to the task afterwards.

        Args:
            task: the task of the item.
            size: size of the item.
            check: called again and again during the wait; ends it by raising.

        Raises:
            Vidx4Error: no workers are left.
            TaskCancelled: the task was cancelled.
        """
        with self._changed:
            self._wait_for(lambda: self._has_room(size) or task.is_cancelled, check)
            if task.is_cancelled:
                raise TaskCancelled
            self._size += size

    def _has_room(self, size: WorkSize) -> bool:
        # An item that is larger than the capacity must pass too, or it would wait for ever.
        return (self._size + size).fits(self._capacity) or self._size == NO_WORK

    def add(self, task: Task[Worker], item: WorkItem[Worker]) -> None:
        """Add an item to a task, after room was reserved for it."""
        with self._changed:
            task.items.append(item)
            self._changed.notify_all()

    def complete(self, task: Task[Worker]) -> None:
        """Declare that no more items of a task come."""
        with self._changed:
            task.is_complete = True
            self._changed.notify_all()

    def submit(self, task: Task[Worker], check: Check = no_check) -> None:
        """Queue a task for a worker; blocks while many tasks wait. An error drops the task's items.

        Args:
            task: the task.
            check: called again and again during the wait; ends it by raising.

        Raises:
            Vidx4Error: no workers are left.
        """
        most = QUEUED_PER_WORKER * self._num_workers
        with self._changed:
            try:
                self._wait_for(lambda: len(self._waiting) < most or task.is_cancelled, check)
            except BaseException:
                self._release(task)
                raise
            self._waiting.append(task)
            self._changed.notify_all()

    def _wait_for(self, condition: Callable[[], bool], check: Check) -> None:
        """Wait for a condition in short steps, since the main thread may wait here too.

        Raises:
            Vidx4Error: no workers are left.
        """
        poll(lambda seconds: self._changed.wait_for(lambda: condition() or self._error, seconds), check)
        if self._error is not None:
            raise self._error

    def cancel(self, task: Task[Worker]) -> None:
        """Give up a task; its worker turns to another."""
        with self._changed:
            task.is_cancelled = True
            if task in self._waiting:
                self._waiting.remove(task)
                self._release(task)
            self._changed.notify_all()

    def shut_down(self, error: BaseException) -> None:
        """Stop all work: every task fails with an error."""
        with self._changed:
            self._error = self._error or error
            waiting, self._waiting = self._waiting, []
            self._changed.notify_all()
        for task in waiting:
            task.on_failure(error)

    def run_tasks(self, worker: Worker) -> None:
        """Run tasks on a worker until the queue is shut down; called in one thread for each task at once.

        Raises:
            WorkerLost: the worker died; its task waits for another.
        """
        while (task := self._next_task(worker)) is not None:
            try:
                self._run(task, worker)
            finally:
                with self._changed:
                    self._num_running[worker] -= 1
                    self._changed.notify_all()

    def _next_task(self, worker: Worker) -> Task[Worker] | None:
        with self._changed:
            self._num_running[worker] += 0  # from now on it counts, as an idle one
            self._changed.wait_for(lambda: self._may_take(worker) or worker in self._lost or self._error)
            if self._error is not None or worker in self._lost:
                return None
            task = min(self._waiting, key=lambda each: (each.priority, -each.num_frames))
            self._waiting.remove(task)
            self._num_running[worker] += 1
            self._changed.notify_all()
            return task

    def _may_take(self, worker: Worker) -> bool:
        """Return whether a worker may take a task now."""
        if self._num_running[worker] == 0:
            return bool(self._waiting)
        # A second task overlaps only its encoding; an idle worker would do it much sooner.
        num_idle = sum(self._num_running[each] == 0 for each in self._num_running.keys() - self._lost)
        return len(self._waiting) > num_idle

    def _run(self, task: Task[Worker], worker: Worker) -> None:
        is_first = True
        while (item := self._next_item(task)) is not None:
            task.num_attempts += 1
            try:
                item.run(worker, is_first=is_first)
            except WorkerLost as loss:
                self.mark_lost(worker)
                self._requeue(task, loss)
                raise
            except BaseException as error:
                self._fail(task, error)
                return
            is_first, task.num_attempts = False, 0
            self._remove_item(task)

    def _next_item(self, task: Task[Worker]) -> WorkItem[Worker] | None:
        """Wait for the next item of a task; None if no more come."""
        with self._changed:
            self._changed.wait_for(lambda: task.items or task.is_complete or task.is_cancelled or self._error)
            if self._error is not None and not task.is_cancelled:
                task.on_failure(self._error)
                task.is_cancelled = True
            if task.is_cancelled:
                self._release(task)
                return None
            return task.items[0] if task.items else None

    def _remove_item(self, task: Task[Worker]) -> None:
        with self._changed:
            self._size -= task.items.popleft().size
            self._changed.notify_all()

    def _release(self, task: Task[Worker]) -> None:
        """Free the room of a task's items."""
        for item in task.items:
            self._size -= item.size
        task.items.clear()
        self._changed.notify_all()

    def _fail(self, task: Task[Worker], error: BaseException) -> None:
        with self._changed:
            task.is_cancelled = True
            self._release(task)
        if not isinstance(error, TaskCancelled):
            task.on_failure(error)

    def _requeue(self, task: Task[Worker], loss: WorkerLost) -> None:
        """Queue a task for another worker, unless too many were lost on it."""
        if self._queue_again(task):
            _logger.warning("%s Another worker resumes %s.", loss, task.description)
        else:
            text = f"{task.num_attempts} workers were lost at the same point of {task.description}. {loss}"
            self._fail(task, self._error or WorkerError(text))

    def _queue_again(self, task: Task[Worker]) -> bool:
        with self._changed:
            # One item may kill every worker that tries it, for want of memory say: it must not take down all.
            if task.is_cancelled or task.num_attempts >= MAX_ATTEMPTS or self._error is not None:
                return False
            self._waiting.append(task)
            self._changed.notify_all()
            return True

    def mark_lost(self, worker: Worker) -> None:
        """Record that a worker died: its threads end after the tasks that they run."""
        with self._changed:
            self._lost.add(worker)
            self._changed.notify_all()

    def remove_worker(self, worker: Worker) -> None:
        """Forget a worker whose threads have all ended."""
        with self._changed:
            self._lost.discard(worker)
            self._num_running.pop(worker, None)
            self._changed.notify_all()
