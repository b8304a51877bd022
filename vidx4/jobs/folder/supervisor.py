"""Runs a batch in a process of its own, so that a file that ends the process does not end the batch."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import IO

from vidx4.errors import WorkerError
from vidx4.files.stamp import Stamp
from vidx4.jobs.folder.journal import DEVICE_FAILED, VARIABLE, Past, PastReport, stamp_of
from vidx4.jobs.folder.reports import FileReport, Outcome

STOPPED = 130
"""Exit code."""
_POLL_SECONDS = 0.1
"""Longest single wait: only between waits are signals handled for sure."""
_MAX_CODE = 255
"""Largest exit code that programs choose; larger ones of Windows say how one crashed, in hexadecimal."""
_MAX_STOPS = 2
"""Requests to stop that are left to the process; with the next one, it is killed."""


def command_for(arguments: Sequence[str]) -> list[str]:
    """Return what runs the program in a process that has a supervisor; nothing if none is needed.

    Args:
        arguments: those of this process, its own name included.
    """
    if VARIABLE in os.environ or not {"-h", "--help"}.isdisjoint(arguments):
        return []
    # With the same modules, wherever this process found them, and -P: none of the current folder's are run.
    same = f"import sys; sys.path[:] = {sys.path!r}; sys.argv[0] = {arguments[0]!r}"
    code = f"{same}; from vidx4.cli.commands import main; main()"
    return [sys.executable, "-P", "-c", code, *arguments[1:]]


class Supervisor:
    """Starts processes that work on a batch, each where the one before died, until one ends by itself.

    Args:
        command: starts such a process; it has to use a `Journal`.
        signals: those that stop the work; they are passed on.
        warn: receives a sentence on each process that died.
        others: signals that are passed on as well.
    """

    def __init__(
        self,
        command: Sequence[str],
        signals: Iterable[signal.Signals],
        warn: Callable[[str], object],
        others: Iterable[signal.Signals] = (),
    ) -> None:
        self._command = command
        self._signals, self._others = tuple(signals), tuple(others)
        self._begun = time.time()
        self._warn = warn
        self._orders: SimpleQueue[bytes | None] = SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        self._num_stops = 0
        self._at_work: dict[Path, Stamp | None] = {}
        self._reports: dict[Path, PastReport] = {}
        self._num_deaths: Counter[Path] = Counter()
        """How many processes died while they worked on a file."""

    def run(self) -> int:
        """Work on the batch; return the exit code.

        Raises:
            WorkerError: the process ended while it worked on no file, which may happen again.
        """
        for each in self._signals:
            signal.signal(each, self._stop)
        for each in self._others:
            signal.signal(each, self._pass_on)
        while True:
            code = self._run_process()
            if self._num_stops:
                return code if code >= 0 else STOPPED
            # A process that ends by itself has put its work down before, unless Ctrl-C came twice.
            if code == STOPPED or (code >= 0 and not self._at_work):
                return code
            if not self._at_work:
                raise WorkerError(
                    f"The batch ended ({_how(code)}) while it worked on no file: start it again."
                )
            self._blame(_how(code))

    def _stop(self, number: int, _: object) -> None:
        self._num_stops += 1
        self._pass_on(number, None)
        if self._num_stops > _MAX_STOPS and self._process is not None:
            self._process.kill()

    def _pass_on(self, number: int, _: object) -> None:
        self._orders.put(b"%d\n" % number)

    def _run_process(self) -> int:
        """Start a process, listen to it until it ends, and return its exit code; negative for a signal."""
        self._at_work.clear()
        orders = self._orders = SimpleQueue[bytes | None]()
        orders.put(Past(self._reports, frozenset(self._num_deaths), self._begun).line())
        (for_it, from_us), (from_it, for_us) = os.pipe(), os.pipe()
        with _started(self._command, (for_it, for_us)) as process:
            self._process = process
            os.close(for_it)
            os.close(for_us)
            Thread(target=_send, args=(os.fdopen(from_us, "wb", buffering=0), orders), daemon=True).start()
            reader = Thread(target=self._read, args=(os.fdopen(from_it, "rb"),), daemon=True)
            reader.start()
            code = _wait(process)
        orders.put(None)
        reader.join(10 * _POLL_SECONDS)  # ends at once, unless another process has the pipe
        return code

    def _read(self, messages: IO[bytes]) -> None:
        with messages:
            for line in messages:
                if not line.endswith(b"\n"):
                    return  # the process died while it wrote
                facts = json.loads(line)
                if "begun" in facts:
                    self._at_work[Path(facts["begun"])] = stamp_of(facts)
                elif "ended" in facts:
                    self._at_work.pop(Path(facts["ended"]), None)
                else:
                    past = PastReport.of(facts)
                    self._reports[past.report.path] = past

    def _blame(self, how: str) -> None:
        """Leave out the file that a process died of or, if it may be one of several, try each alone."""
        files = dict(self._at_work)
        self._num_deaths.update(files.keys())
        culprits = [path for path in files if len(files) == 1 or self._num_deaths[path] > 1]
        for path in culprits:
            message = f"It ended the process ({how}): it is left out."
            report = FileReport(path, Outcome.FAILED, message=message)
            self._reports[path] = PastReport(report, files[path], is_told=False)
        names = ", ".join(map(str, culprits or files))
        will = "it is left out" if culprits else "each of these files is tried again, alone"
        self._warn(f"The process of the batch ended ({how}) while it worked on {names}: {will}.")


def _started(command: Sequence[str], descriptors: tuple[int, int]) -> "subprocess.Popen[bytes]":
    """Start a process that inherits two descriptors, and finds them by an environment variable."""
    if sys.platform == "win32":
        import msvcrt

        handles = [msvcrt.get_osfhandle(each) for each in descriptors]
        for each in handles:
            os.set_handle_inheritable(each, True)
        startup = subprocess.STARTUPINFO(lpAttributeList={"handle_list": handles})
        return subprocess.Popen(command, env=_environment(handles), startupinfo=startup)
    return subprocess.Popen(command, env=_environment(descriptors), pass_fds=descriptors)


def _environment(numbers: Iterable[int]) -> dict[str, str]:
    return {**os.environ, VARIABLE: ",".join(map(str, numbers))}


def _wait(process: "subprocess.Popen[bytes]") -> int:
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(_POLL_SECONDS)


def _send(pipe: IO[bytes], orders: "SimpleQueue[bytes | None]") -> None:
    with suppress(OSError), pipe:  # the process has died
        for line in iter(orders.get, None):
            pipe.write(line)


def _how(code: int) -> str:
    """Return in words how a process died."""
    if code == DEVICE_FAILED:
        return "its device failed"
    if code >= 0:
        return f"exit code {code:#x}" if code > _MAX_CODE else f"exit code {code}"
    if -code == getattr(signal, "SIGKILL", None):
        return "it was killed, maybe because memory ran out"
    return (signal.strsignal(-code) or f"signal {-code}").lower()
