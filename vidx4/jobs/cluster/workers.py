"""Workers: hired, compared with each other, replaced when they are lost."""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Protocol, TypeVar

from vidx4.errors import Vidx4Error, WorkerError
from vidx4.jobs.cluster.dispatch import Hand
from vidx4.jobs.cluster.model_files import Setting
from vidx4.jobs.cluster.scheduler import ERRANDS_AT_ONCE, MAX_TRIES, Crew, Load, WorkerLost
from vidx4.jobs.cluster.worker import Fitted
from vidx4.jobs.identity import Identity, differences
from vidx4.jobs.prefetch import POLL_SECONDS, settled

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class Hired(Hand, Protocol):
    """A worker as who hires it sees it. Every method may raise `WorkerLost`."""

    def begin(self, setting: Setting, is_over: Event) -> Identity:
        """Wait until it is there and has loaded a model; return all that decides on its pixels.

        Raises:
            WorkerError: it runs another program.
            ModelError: it can't have the model.
            WorkerLost: nobody waits for it any more.
        """

    def identity(self, setting: Setting) -> Identity:
        """Return all that decides on the pixels of a result with a setting; another model may be loaded."""

    def fitted(
        self, setting: Setting, width: int, height: int, num_frames: int, batch_size: int | None
    ) -> Fitted:
        """Find out how frames fit its memory; arguments are those of `Worker.fitted`."""

    def dismiss(self) -> None:
        """Let it end, whatever it is at."""


class Staff:
    """Keeps workers at work for a crew.

    All have to make the same pixels as the first that is there: others are refused. Each that is lost is
    replaced, unless that happens again and again before it could begin.

    Args:
        hire: asks for the worker of a number, without waiting for it.
        num_workers: how many there are to be.
        room: for frames that wait or are at work.
    """

    def __init__(self, hire: Callable[[int], Hired], num_workers: int, room: Load) -> None:
        self.crew: Crew[Hand] = Crew(room, num_workers)
        self.num_workers = num_workers
        """That are there or are to come."""
        self._hire = hire
        self._is_over = Event()
        self._lock = Lock()
        self._there: dict[int, Hired] = {}
        """Workers that are at work, by number."""
        self._first: Future[Identity] = Future()
        """How the first that is there makes pixels."""
        self._keepers: list[Thread] = []

    def begin(self, setting: Setting) -> None:
        """Let all workers load a model; returns when the first has.

        Raises:
            Exception: what kept the last of them from that, if none has.
        """
        for number in range(1, self.num_workers + 1):
            keeper = Thread(target=self._keep, args=(number, setting), daemon=True)
            self._keepers.append(keeper)
            keeper.start()
        settled(self._first)

    def _keep(self, number: int, setting: Setting) -> None:
        """Have a worker at work until all is over."""
        num_losses = 0
        while not self._is_over.is_set():
            worker = self._hire(number)
            try:
                self._check_alike(worker, worker.begin(setting, self._is_over))
                num_losses = 0
                self._let_work(number, worker)
            except WorkerLost as loss:
                num_losses += 1
                if num_losses == MAX_TRIES and not self._is_over.is_set():
                    self._give_up(WorkerError(f"{loss} That was so {MAX_TRIES} times before it could begin."))
                    return
            except Exception as error:
                self._give_up(error)
                return
            finally:
                worker.dismiss()

    def _check_alike(self, worker: Hired, identity: Identity) -> None:
        """Compare a worker with the first.

        Raises:
            WorkerError: it makes other pixels.
        """
        with self._lock:
            if not self._first.done():
                self._first.set_result(identity)
        if found := differences(self._first.result(), identity):
            raise WorkerError(f"{worker.name} is refused, since it differs from the first: {found}.")

    def _let_work(self, number: int, worker: Hired) -> None:
        """Let a worker run errands until it is lost, or all is over."""
        with self._lock:
            self._there[number] = worker
        threads = [Thread(target=self._work, args=(worker,), daemon=True) for _ in range(ERRANDS_AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with self._lock:
            del self._there[number]
        self.crew.leave(worker)

    def _work(self, worker: Hired) -> None:
        with suppress(WorkerLost):
            self.crew.work(worker)

    def _give_up(self, error: Exception) -> None:
        """Do without a worker; where it was the last, nothing more can be done."""
        with self._lock:
            self.num_workers -= 1
            is_last = self.num_workers == 0
            if is_last and not self._first.done():
                self._first.set_exception(error)
        if is_last:
            self.crew.end(error)
        elif isinstance(error, Vidx4Error):
            logger.warning("%s The others go on without it.", error)
        else:
            logger.exception("A worker failed by a fault of vidx4; the others go on.", exc_info=error)

    def ask(self, question: Callable[[Hired], Answer]) -> Answer:
        """Ask any worker something that takes no time.

        Raises:
            WorkerError: there is none any more.
        """
        for _ in range(MAX_TRIES):
            with suppress(WorkerLost):
                return question(self._any())
        raise WorkerError("No worker of the cluster answers.")

    def _any(self) -> Hired:
        while self.num_workers and not self._is_over.is_set():
            with self._lock:
                if self._there:
                    return next(iter(self._there.values()))
            self._is_over.wait(POLL_SECONDS)
        raise WorkerError("There is no worker any more.")

    def close(self) -> None:
        """Let all workers go, whatever they are at."""
        self._is_over.set()
        self.crew.end(WorkerError("The cluster was left."))
        with self._lock:
            there = list(self._there.values())
        for worker in there:
            worker.dismiss()
        for keeper in self._keepers:
            while keeper.is_alive():
                keeper.join(POLL_SECONDS)
