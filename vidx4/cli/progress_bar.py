"""What the user sees while a job runs, and how they stop it."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, TypeAlias

from rich.console import Console

from vidx4.printing import printable
from vidx4.syntax import format_memory, format_seconds

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from vidx4.jobs.progress import Progress
    from vidx4.jobs.stop import Stop

    OnProgress: TypeAlias = Callable[[Progress], None]

PLAIN_SECONDS = 10
"""Seconds between two lines of progress if there is no terminal."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""
_STOPPING = b"\nStopping after the current frames; press Ctrl-C again to stop at once.\n"
_PAUSING = f"\nPausing after the current frames; to continue: kill -USR2 {os.getpid()}\n".encode()
_CONTINUING = b"\nContinuing.\n"
_SHOW_CURSOR = b"\x1b[?25h"


@contextmanager
def stoppable(stop: "Stop", *, quiet: bool) -> Iterator[None]:
    """Let Ctrl-C, Ctrl-Break, a hangup or a request to end stop work; a second one ends the program at once.

    SIGUSR1 pauses the work, and SIGUSR2 has it continue.

    Args:
        stop: stops the work.
        quiet: whether to print nothing about it.
    """

    def handle(_: int, __: FrameType | None) -> None:
        # Only system calls: the main thread may hold a stream's lock while the handler interrupts it.
        if stop.is_set():
            show_cursor()
            os._exit(INTERRUPTED)
        stop.set()
        _write(b"" if quiet else _STOPPING)

    def set_pause(number: int, __: FrameType | None) -> None:
        stop.is_paused = number == pausing[0]
        _write(b"" if quiet else _PAUSING if stop.is_paused else _CONTINUING)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pausing = pausing_signals()
    handlers = {**dict.fromkeys(heeded_signals(), handle), **dict.fromkeys(pausing, set_pause)}
    before = {each: signal.signal(each, handler) for each, handler in handlers.items()}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def show_cursor() -> None:
    """Show the cursor again after a progress bar that did not end by itself."""
    _write(_SHOW_CURSOR if os.isatty(2) else b"")


def _write(text: bytes) -> None:
    """Write to standard error, which may be a terminal that was just closed."""
    with suppress(OSError):
        os.write(2, text)


def heeded_signals() -> list[signal.Signals]:
    """Return the signals that end the program; one that it was started to ignore, as by `nohup`, is not."""
    signals = _known("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # the last is Ctrl-Break, on Windows
    return [each for each in signals if signal.getsignal(each) != signal.SIG_IGN]


def pausing_signals() -> list[signal.Signals]:
    """Return the signals that pause work and have it continue, in this order; none where there are none."""
    return _known("SIGUSR1", "SIGUSR2")


def _known(*names: str) -> list[signal.Signals]:
    """Return the signals with these names that the system has."""
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


def bars(console: Console) -> "Bars":
    """Return lines that change in place, shown during a `with` block: a name, a bar, and a state in words."""
    from rich.progress import BarColumn, Progress, TextColumn

    name, state = (TextColumn(f"{{task.{each}}}", markup=False) for each in ("description", "fields[state]"))
    bar = BarColumn(bar_width=24)
    # Rich would take control sequences of what others print meanwhile for styles.
    return Progress(name, bar, state, console=console, redirect_stdout=False, redirect_stderr=False)


@contextmanager
def bar(console: Console, what: str) -> Iterator["OnProgress"]:
    """Show one line that changes in place."""
    with bars(console) as shown:
        task = shown.add_task(printable(what), total=None, state="")

        def update(progress: "Progress") -> None:
            state, num_done = describe(progress), progress.num_done
            shown.update(task, total=progress.num_frames, completed=num_done, state=state)

        yield update


class PlainProgress:
    """Prints a line every few seconds.

    Args:
        say: prints it.
        seconds: how many.
    """

    def __init__(self, say: Callable[[str], None], seconds: float = PLAIN_SECONDS) -> None:
        self._say = say
        self._seconds = seconds
        self._last = time.monotonic()

    def show(self, line: Callable[[], str]) -> None:
        """Print a line, unless one was printed just before."""
        if time.monotonic() - self._last >= self._seconds:
            self._last = time.monotonic()
            self._say(line())


def describe(progress: "Progress") -> str:
    """Return the progress of a job in one line."""
    facts = (
        f"{progress.num_done}/{progress.num_frames} {progress.num_done / progress.num_frames:.0%}",
        f"{1 / progress.seconds_per_frame:.2f} fps",
        f"{format_seconds(progress.seconds_left)} left{reused(progress.share_reused)}",
        format_memory(progress.memory),
        f"shot at {format_seconds(progress.shot_seconds)}",
    )
    return " · ".join(facts)


def reused(share: float) -> str:
    """Return how much was reused, in words; empty if hardly anything."""
    return f" · {share:.0%} reused" if share >= 0.005 else ""
