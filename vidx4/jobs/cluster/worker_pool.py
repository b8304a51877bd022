"""The workers of a cluster: started, compared with each other, and replaced when they are lost."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from vidx4.errors import Vidx4Error, WorkerError
from vidx4.jobs.cluster.model_files import ModelSpec
from vidx4.jobs.cluster.task_queue import MAX_ATTEMPTS, TASKS_PER_WORKER, TaskQueue, WorkerLost, WorkSize
from vidx4.jobs.cluster.worker import Worker
from vidx4.jobs.identity import Identity, differences, program
from vidx4.jobs.threads import join_thread, poll, result_of

_logger = logging.getLogger(__name__)

PATIENT_SECONDS = 30.0
"""Time after which the user is told that a worker is still waited for; and again after as long."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class WorkerHandle(Protocol):
    """A worker in another process, as this one sees it."""

    name: str

    def call(
        self,
        on_wait: Callable[[], object],
        method: Callable[Concatenate[Worker, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Call a method of the worker, and return its result or raise its error.

        Args:
            on_wait: called about once a second until the result is there; ends the wait by raising.
            method: a method of `Worker`.
            *args: its arguments.
            **kwargs: its keyword arguments.

        Raises:
            WorkerLost: the worker died.
        """

    def kill(self) -> None:
        """End the worker, whatever it is doing."""


class WorkerPool:
    """Keeps the workers of a queue running.

    Every worker must make the same pixels as the first that is ready: others are refused. A worker that is
    lost is replaced, unless that happens again and again before it could start.

    Args:
        start_worker: asks the cluster for the worker of a number, without waiting for it; raises `WorkerLost`
            if the cluster can't be asked.
        num_workers: how many workers to keep.
        capacity: frames that may wait or be in progress at once.
    """

    def __init__(
        self, start_worker: Callable[[int], WorkerHandle], num_workers: int, capacity: WorkSize
    ) -> None:
        self.queue: TaskQueue[WorkerHandle] = TaskQueue(capacity, num_workers)
        self.num_workers = num_workers
        """Workers that run or are still to come."""
        self._start_worker = start_worker
        self._is_closed = Event()
        self._lock = Lock()
        self._ready: list[WorkerHandle] = []
        """Workers that run tasks."""
        self._first_identity: Future[Identity] = Future()
        """How the first worker that is ready makes pixels."""
        self._keepers: list[Thread] = []

    def start(self, model: ModelSpec) -> None:
        """Have all workers load a model; returns as soon as the first has.

        Raises:
            Exception: no worker could start; what kept the last of them from it.
        """
        for number in range(1, self.num_workers + 1):
            keeper = Thread(target=self._keep, args=(number, model), daemon=True)
            self._keepers.append(keeper)
            keeper.start()
        result_of(self._first_identity)

    def _keep(self, number: int, model: ModelSpec) -> None:
        """Keep a worker running until the pool is closed."""
        num_losses = 0
        while not self._is_closed.is_set():
            try:
                with self._started(number) as worker:
                    self._prepare(worker, model)
                    num_losses = 0
                    self._run_tasks(worker)
            except WorkerLost as loss:
                num_losses += 1
                if num_losses == MAX_ATTEMPTS and not self._is_closed.is_set():
                    text = f"{loss} This happened {MAX_ATTEMPTS} times before the worker could start."
                    self._give_up(WorkerError(text))
                    return
            except Exception as error:
                self._give_up(error)
                return

    @contextmanager
    def _started(self, number: int) -> Iterator[WorkerHandle]:
        worker = self._start_worker(number)
        try:
            yield worker
        finally:
            worker.kill()

    def _prepare(self, worker: WorkerHandle, model: ModelSpec) -> None:
        """Wait until a worker is there and has loaded its model.

        Raises:
            WorkerError: it runs another program, or makes different pixels from the first worker.
            ModelError: it can't load the model.
            WorkerLost: it died, or the pool was closed.
        """
        on_wait = self._patience(worker)
        there = worker.call(on_wait, Worker.program)
        worker.name += f" on {there.pop('host')} (process {there.pop('pid')})"
        if (here := program()) != there:
            text = f"{worker.name} runs {_described(there)}, but this process runs {_described(here)}"
            raise WorkerError(f"{text}: install the same versions everywhere.")
        self._check_same_pixels(worker, worker.call(on_wait, Worker.identity, model))

    def _patience(self, worker: WorkerHandle) -> Callable[[], None]:
        """Return what to do while a worker is waited for."""
        last_message = time.monotonic()

        def on_wait() -> None:
            nonlocal last_message
            if self._is_closed.is_set():
                raise WorkerLost(f"{worker.name} is no longer waited for.")
            if time.monotonic() - last_message > PATIENT_SECONDS:
                last_message = time.monotonic()
                reasons = "the cluster has no free resources, or the model is still loading"
                _logger.info("Waiting for %s: %s.", worker.name, reasons)

        return on_wait

    def _check_same_pixels(self, worker: WorkerHandle, identity: Identity) -> None:
        with self._lock:
            if not self._first_identity.done():
                self._first_identity.set_result(identity)
        if found := differences(self._first_identity.result(), identity):
            raise WorkerError(f"{worker.name} is refused because it differs from the first worker: {found}.")

    def _run_tasks(self, worker: WorkerHandle) -> None:
        """Have a worker run tasks until it is lost or the pool is closed."""
        with self._lock:
            self._ready.append(worker)
        threads = [Thread(target=self._run, args=(worker,), daemon=True) for _ in range(TASKS_PER_WORKER)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with self._lock, suppress(ValueError):  # it may have been dropped
            self._ready.remove(worker)
        self.queue.remove_worker(worker)

    def _run(self, worker: WorkerHandle) -> None:
        with suppress(WorkerLost):  # the queue has given its task to another, and its keeper replaces it
            self.queue.run_tasks(worker)

    def _give_up(self, error: Exception) -> None:
        """Continue without a worker; if it was the last, nothing more can be done."""
        with self._lock:
            self.num_workers -= 1
            is_last = self.num_workers == 0
            if is_last and not self._first_identity.done():
                self._first_identity.set_exception(error)
        if is_last:
            self.queue.shut_down(error)
        elif isinstance(error, Vidx4Error):
            _logger.warning("%s The other workers continue without it.", error)
        else:
            message = "A worker failed because of a bug in vidx4; the other workers continue."
            _logger.exception(message, exc_info=error)

    def ask(
        self,
        method: Callable[Concatenate[Worker, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Call a method of any worker, one that takes little time.

        Raises:
            WorkerError: no workers are left.
        """
        # Every worker may have died while it was idle: such losses say nothing about this call.
        for _ in range(self.num_workers + MAX_ATTEMPTS):
            worker = self._any_worker()
            try:
                return worker.call(lambda: None, method, *args, **kwargs)
            except WorkerLost:
                self._drop(worker)
        raise WorkerError("No worker in the cluster responds.")

    def ask_early(
        self,
        method: Callable[Concatenate[Worker, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Call a method of a worker, as `ask` does; before the pool has started, of one that ends afterwards.

        Raises:
            WorkerError: no worker responds.
        """
        if self._keepers:
            return self.ask(method, *args, **kwargs)
        try:
            with self._started(1) as worker:
                return worker.call(self._patience(worker), method, *args, **kwargs)
        except WorkerLost as loss:
            raise WorkerError(str(loss)) from loss

    def _drop(self, worker: WorkerHandle) -> None:
        """Have the keeper of a lost worker replace it, unless it does so already."""
        with self._lock:
            if worker in self._ready:
                self._ready.remove(worker)
                self.queue.mark_lost(worker)
        worker.kill()  # it may only be out of reach, and `close` no longer knows it

    def _any_worker(self) -> WorkerHandle:
        def attempt(seconds: float) -> WorkerHandle | None:
            with self._lock:
                if self._ready:
                    return self._ready[0]
            self._is_closed.wait(seconds)
            return None

        return poll(attempt, self._check_open)

    def _check_open(self) -> None:
        if not self.num_workers or self._is_closed.is_set():
            raise WorkerError("No workers are left.")

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        self._is_closed.set()
        self.queue.shut_down(WorkerError("The connection to the cluster was closed."))
        with self._lock:
            ready = list(self._ready)
        for worker in ready:
            worker.kill()
        for keeper in self._keepers:
            join_thread(keeper)


def _described(program: Mapping[str, str]) -> str:
    return "vidx4 {vidx4} ({program:.8}) with PyAV {av}".format(**program)
