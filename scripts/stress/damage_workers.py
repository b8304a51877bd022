"""Processes that carry out cases of damage, so that crashes and hangs are seen as such."""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue

import psutil

from scripts.stress.damage_case import Case, Result

LIMIT = 20.0
"""Processor seconds for a case."""
CLOCK_LIMIT = 6 * LIMIT
"""Elapsed seconds for a case: other programs may run beside it, but a deadlock uses no processor time."""
NUM_WORKERS = 2
CASES_PER_WORKER = 100
"""Cases after which a process is replaced."""


def run_all(cases: Sequence[Case], module: str) -> Iterator[tuple[Case, Result]]:
    """Yield each case with its result; workers, which run a module, carry them out one after another."""
    local = threading.local()
    workers: list[Worker] = []

    def do(case: Case) -> Result:
        if not hasattr(local, "worker"):
            local.worker = Worker(module)
            workers.append(local.worker)
        worker: Worker = local.worker
        return worker.do(case)

    try:
        with ThreadPoolExecutor(NUM_WORKERS) as pool:
            yield from zip(cases, pool.map(do, cases), strict=True)
    finally:
        for worker in workers:
            worker.close()


def work(attempt: Callable[[Case, Path], Result], prepare: Callable[[], None] = lambda: None) -> None:
    """Read cases, one a line, and print the result of each: the main function of a worker's process."""
    # Importing takes seconds, which should not count against the first case.
    import vidx4.jobs.still.read  # noqa: F401

    prepare()
    print(flush=True)
    for line in sys.stdin:
        with tempfile.TemporaryDirectory() as folder:
            result = attempt(Case(**json.loads(line)), Path(folder))
        print(json.dumps(asdict(result)), flush=True)


class Worker:
    """A process that carries out cases, and is replaced if it hangs or dies.

    Args:
        module: what it runs.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._process: subprocess.Popen[str] | None = None
        self._num_done = 0

    def do(self, case: Case) -> Result:
        """Carry out a case, within its limits."""
        process = self._ready()
        assert process.stdin is not None
        assert process.stdout is not None
        answers: SimpleQueue[str] = SimpleQueue()
        is_over_limit = _limit_check(process)
        process.stdin.write(json.dumps(asdict(case)) + "\n")
        process.stdin.flush()
        reader = threading.Thread(target=lambda: answers.put(process.stdout.readline()))  # type: ignore[union-attr]
        reader.start()
        self._num_done += 1
        while reader.is_alive():
            reader.join(0.5)
            if reader.is_alive() and is_over_limit():
                self.close()
                return Result("HANG")
        answer = answers.get()
        if not answer:
            code = process.wait()
            self.close()
            return Result("KILLED", f"exit code {code}")
        return Result(**json.loads(answer))

    def _ready(self) -> "subprocess.Popen[str]":
        if self._process is None or self._num_done >= CASES_PER_WORKER:
            self.close()
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module, "--worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            assert self._process.stdout is not None
            self._process.stdout.readline()
            self._num_done = 0
        return self._process

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _limit_check(process: "subprocess.Popen[str]") -> Callable[[], bool]:
    """Return a function that tells whether a process has since used more time than a case may take."""

    def used() -> float:
        with suppress(psutil.NoSuchProcess):
            times = psutil.Process(process.pid).cpu_times()
            return float(times.user + times.system)
        return 0.0

    begun, before = time.monotonic(), used()
    return lambda: used() - before > LIMIT or time.monotonic() - begun > CLOCK_LIMIT
