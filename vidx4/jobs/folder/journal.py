"""What the process of a batch tells its supervisor, and learns from it.

A file can make a library end the whole process. So the work is done in a process of its own, which tells its
supervisor what it works on; another process can then do the rest. Each message is one line of JSON.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from vidx4.files.stamp import Stamp, stamp
from vidx4.jobs.folder.reports import FileReport, Outcome

DEVICE_FAILED = 71
"""Exit code of a process that can't use its device any more, while another may (EX_OSERR)."""
VARIABLE = "VIDX4_SUPERVISOR"
"""Environment variable with the numbers of the pipes from and to the supervisor."""
_GRACE_SECONDS = 60.0
"""How long a process whose supervisor has died may take to stop by itself."""


@dataclass(frozen=True)
class PastReport:
    """What became of a file in an earlier process."""

    report: FileReport
    stamp: Stamp | None
    """Stamp of the file then; if it has changed since, the report counts no more."""
    is_told: bool = True
    """Whether the user has been told."""

    def facts(self) -> dict[str, Any]:
        """Return values that JSON can hold."""
        return {"report": asdict(self.report), "stamp": self.stamp, "is_told": self.is_told}

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        """Return a report from its facts."""
        report = dict(facts["report"])
        output = None if report["output"] is None else Path(report["output"])
        changes = {"path": Path(report["path"]), "output": output, "outcome": Outcome(report["outcome"])}
        return cls(FileReport(**{**report, **changes}), stamp_of(facts), facts["is_told"])


def stamp_of(facts: Mapping[str, Any]) -> Stamp | None:
    """Return the stamp in a message."""
    return None if facts["stamp"] is None else (facts["stamp"][0], facts["stamp"][1])


@dataclass(frozen=True)
class Past:
    """What happened before the process began: others worked on the same batch, and died."""

    reports: Mapping[Path, PastReport] = field(default_factory=dict)
    suspects: frozenset[Path] = frozenset()
    """Files of which one made a process die; which of them is only known when each is tried alone."""
    begun: float = field(default_factory=time.time)
    """When the batch began, in seconds since 1970."""

    def line(self) -> bytes:
        """Return the message that tells it."""
        reports = [each.facts() for each in self.reports.values()]
        return _line(reports=reports, suspects=sorted(map(str, self.suspects)), begun=self.begun)

    @classmethod
    def of(cls, line: bytes) -> Self:
        """Return what a message tells."""
        facts = json.loads(line)
        reports = map(PastReport.of, facts["reports"])
        suspects = frozenset(map(Path, facts["suspects"]))
        return cls({each.report.path: each for each in reports}, suspects, facts["begun"])


class Journal:
    """Tells a supervisor which files are at work and what became of them; without one, nobody listens.

    Args:
        past: what the supervisor knows from earlier processes.
        write: receives each message, from any thread.
        end: ends the process at once.
    """

    def __init__(
        self,
        past: Past | None = None,
        write: Callable[[bytes], object] = lambda _: None,
        end: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._past = past or Past()
        self._write = write
        self._end = end

    @property
    def begun(self) -> float:
        """When the batch began, in seconds since 1970."""
        return self._past.begun

    @contextmanager
    def at_work(self, path: Path) -> Iterator[None]:
        """Take the blame for a file during a `with` block."""
        self._write(_line(begun=str(path), stamp=stamp(path)))
        try:
            yield
        finally:
            self._write(_line(ended=str(path)))

    def give_up(self) -> None:
        """End this process, whose device has failed, so that another does the rest; return without one."""
        self._end(DEVICE_FAILED)

    def tell(self, report: FileReport) -> None:
        """Tell what became of a file, after the user has been told; what was left may be tried again."""
        if report.outcome != Outcome.LEFT:
            self._write(_line(**PastReport(report, stamp(report.path)).facts()))

    def known(self, path: Path) -> FileReport | None:
        """Return what became of a file in an earlier process, unless it has changed since."""
        past = self._past.reports.get(path)
        return past.report if past is not None and past.stamp == stamp(path) else None

    def is_told(self, report: FileReport) -> bool:
        """Return whether an earlier process told the user."""
        past = self._past.reports.get(report.path)
        return past is not None and past.is_told and past.report is report

    def is_suspect(self, path: Path) -> bool:
        """Return whether a file has to be tried alone."""
        return path in self._past.suspects


def _line(**facts: Any) -> bytes:
    return json.dumps(facts, default=str).encode() + b"\n"


@contextmanager
def supervised(signals: Iterable[int]) -> Iterator[Journal]:
    """Give the journal that this process's supervisor reads, if there is one, and heed what it says.

    Args:
        signals: those that stop the work: one that goes to both processes is heeded once.
    """
    numbers = os.environ.pop(VARIABLE, "")  # not for the processes that this one starts
    if not numbers:
        yield Journal()
        return
    orders, messages = (_descriptor(int(number)) for number in numbers.split(","))
    lock = threading.Lock()

    def write(line: bytes) -> None:
        with lock, suppress(OSError):  # the supervisor has died, which the listener notices
            os.write(messages, line)

    with os.fdopen(orders, "rb", buffering=0) as file, _counted(signals) as count:
        past = Past.of(file.readline())
        threading.Thread(target=_heed, args=(file, count, frozenset(signals)), daemon=True).start()
        yield Journal(past, write, os._exit)


def _descriptor(number: int) -> int:
    """Return the descriptor of a pipe that was inherited, which no further process inherits."""
    if sys.platform == "win32":
        import msvcrt

        return msvcrt.open_osfhandle(number, 0)
    os.set_inheritable(number, False)
    return number


@contextmanager
def _counted(signals: Iterable[int]) -> Iterator[Callable[[], int]]:
    """Give a function that counts the signals of some kinds that have arrived so far."""
    kinds, num_arrived = frozenset(signals), 0
    here, there = socket.socketpair()
    here.setblocking(False)
    there.setblocking(False)

    def count() -> int:
        nonlocal num_arrived
        with suppress(BlockingIOError):
            num_arrived += sum(each in kinds for each in here.recv(4096))
        return num_arrived

    before = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
    try:
        yield count
    finally:
        signal.set_wakeup_fd(before)
        here.close()
        there.close()


def _heed(orders: Iterable[bytes], count: Callable[[], int], counted: frozenset[int]) -> None:
    """Repeat the supervisor's signals here; those that are counted only if they did not come here as well."""
    number = 0
    with suppress(OSError, ValueError):  # the pipe is closed here, at the end
        for line in orders:
            number += int(line) in counted
            if int(line) not in counted or count() < number:
                _interrupt(int(line))
        _interrupt(signal.SIGTERM)  # the supervisor has died, and nobody would see what happens here
        time.sleep(_GRACE_SECONDS)
        os._exit(1)


def _interrupt(number: int) -> None:
    if sys.platform == "win32":
        signal.raise_signal(number)
    else:
        signal.pthread_kill(threading.main_thread().ident or 0, number)
