"""What the user sees: messages and progress, or one JSON object a line."""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.text import Text

from vidx4.cli.options import TerminalOptions
from vidx4.cli.progress_bar import INTERRUPTED, PlainProgress, bar, describe, stoppable
from vidx4.errors import (
    LossError,
    OptionError,
    SourceChangedError,
    SourceError,
    StoppedError,
    TimeUpError,
    UnknownModelError,
    Vidx4Error,
)
from vidx4.jobs.schedule import ScheduleOptions
from vidx4.printing import printable, shown_name, to_json

if TYPE_CHECKING:
    from vidx4.cli.progress_bar import OnProgress
    from vidx4.jobs.part_record import Part
    from vidx4.jobs.progress import Control, Progress

FAILED, BAD_INPUT, TIME_UP = 1, 2, 75
"""Exit codes."""
EVENTS_VERSION = 2
"""Version of the events that `--json` prints; it grows when a field changes its meaning or goes."""


_USUAL = TerminalOptions()
_UNLIMITED = 1 << 16
"""Columns of what is not shown but read by programs."""


class Terminal:
    """Prints for the user: results on standard output, the rest on standard error.

    Args:
        options: how much, and in which form.
        command: what the user typed, to be typed again if the work can be resumed.
    """

    def __init__(self, options: TerminalOptions = _USUAL, command: str = "vidx4") -> None:
        self.command = command
        self._version = {"version": EVENTS_VERSION}
        self._lock = Lock()  # several threads may log and report progress
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.configure(options)

    def configure(self, options: TerminalOptions) -> None:
        """Choose how much is printed, and in which form."""
        self.quiet = options.quiet
        self.verbose = options.verbose
        self.json = options.json

    @contextmanager
    def session(self) -> Iterator[None]:
        """Turn errors meant for the user into a message and an exit code."""
        handler, logger = _Handler(self), logging.getLogger("vidx4")
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG if self.verbose else logging.INFO)
        try:
            yield
        except Vidx4Error as error:
            raise typer.Exit(self.failure(error)) from error
        except KeyboardInterrupt as error:
            self.error("Interrupted.", INTERRUPTED)
            raise typer.Exit(INTERRUPTED) from error
        finally:
            logger.removeHandler(handler)

    def event(self, event: str, **fields: Any) -> None:
        """Print an event, if events are wanted."""
        if not self.json:
            return
        with self._lock:
            line = to_json({"event": event, **self._version, "time": round(time.time(), 3), **fields})
            # In one piece: `print` writes its `end` apart, and another thread could come between.
            print(line + "\n", end="", flush=True)  # noqa: T201
            self._version = {}  # only the first event has it

    def say(self, message: str, style: str = "") -> None:
        """Print a line for people, even with --quiet."""
        if not self.json:
            self.console.print(Text(printable(message), style))

    def say_aside(self, message: str) -> None:
        """Print a line for people on standard error, even with --json, whose events have ended."""
        self.console.print(Text(printable(message), "yellow"))

    def tell(self, message: str) -> None:
        """Print a line for people, unless --quiet."""
        if not self.quiet:
            self.say(message)

    def fact(self, name: str, text: str, *, is_detail: bool = False) -> None:
        """Print a name and what is known by it; a detail only with --verbose."""
        if self.verbose or not is_detail:
            self.tell(f"{name:7} {text}")

    def note(self, message: str) -> None:
        """Report something that is good to know."""
        self.event("note", message=message)
        self.tell(message)

    def warn(self, message: str) -> None:
        """Report something that falls short."""
        self.event("warning", message=message)
        self.say(message, "yellow")

    def failure(self, error: Vidx4Error) -> int:
        """Report why the program ends and, if it can, how to resume; return the exit code."""
        notes = getattr(error, "__notes__", [])
        again = f"{self.command} --accept-loss" if isinstance(error, LossError) else self.command
        code = exit_code(error)
        self.error(" ".join([str(error), *notes]), code, **({"command": again} if notes else {}))
        if notes:
            self.say(f"Resume with: {again}")
        return code

    def bug(self, error: Exception) -> None:
        """Report an error that nobody foresaw, before its traceback is printed."""
        self.error(f"This is a bug in vidx4: {error!r}. Please report it with the traceback.", FAILED)

    def error(self, message: str, code: int, **fields: Any) -> None:
        """Report why the program ends, and with which exit code."""
        self.event("error", message=message, exit_code=code, **fields)
        self.say(f"Error: {message}", "red")

    def finished(self, code: int = 0, **fields: Any) -> None:
        """Report to programs that the command has come to its end, and its exit code."""
        self.event("done", exit_code=code, **fields)

    def done(self, output: str | Path, **fields: Any) -> None:
        """Report where the result is."""
        self.finished(output=output, **fields)
        self.results(output)

    def results(self, *outputs: str | Path) -> None:
        """Print where results are, for people and programs alike."""
        if not self.json and not self.quiet:
            print(*(shown_name(str(each)) for each in outputs), sep="\n")  # noqa: T201

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table on standard output, unless JSON is printed."""
        if self.json:
            return
        from rich.table import Column, Table

        columns = (Column(Text(printable(title)), overflow="fold") for title in header)
        table = Table(*columns, box=None, show_header=any(header), pad_edge=False)
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        console = Console(highlight=False)
        if not console.is_terminal and "COLUMNS" not in os.environ:
            console.width = _UNLIMITED  # whoever reads lines wants names in one piece
        console.print(table)

    @contextmanager
    def working(self, what: str, schedule: ScheduleOptions = ScheduleOptions()) -> Iterator["Control"]:
        """Show the progress of a job, and let the user, or the end of its time, stop it."""
        from vidx4.jobs.progress import Control

        with self._progress(what) as on_progress:
            control = Control(on_progress, self._part)
            stops = stoppable(control.stop, quiet=self.quiet or self.json)
            with stops, schedule.limiting(control.stop):
                yield control

    @contextmanager
    def _progress(self, what: str) -> Iterator["OnProgress"]:
        if self.json:
            yield self.progress_event
        elif self.quiet:
            yield lambda _: None
        elif self.console.is_terminal:
            with bar(self.console, what) as on_progress:
                yield on_progress
        else:
            plain = PlainProgress(self.say)
            yield lambda progress: plain.show(lambda: f"{what}: {describe(progress)}")

    def progress_event(self, progress: "Progress", **fields: Any) -> None:
        """Report the progress of a job as JSON."""
        self.event("progress", **fields, **progress.facts())

    def _part(self, part: "Part") -> None:
        self.event("part", **asdict(part))


def exit_code(error: Vidx4Error) -> int:
    """Return the exit code of the program after an error."""
    if isinstance(error, TimeUpError):
        return TIME_UP
    if isinstance(error, StoppedError):
        return INTERRUPTED
    is_bad_input = isinstance(error, SourceError | OptionError | UnknownModelError)
    return BAD_INPUT if is_bad_input and not isinstance(error, SourceChangedError) else FAILED


class _Handler(logging.Handler):
    """Shows what the library logs, each message once."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self._terminal = terminal
        self._seen: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = self.format(record)
        if message not in self._seen:
            self._seen.add(message)
            (self._terminal.warn if record.levelno >= logging.WARNING else self._terminal.note)(message)
