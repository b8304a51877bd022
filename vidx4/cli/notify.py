"""The command that a user wants to be run when work has ended."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from vidx4.cli.terminal import Terminal
from vidx4.errors import StoppedError, TimeUpError, Vidx4Error

PATIENCE_SECONDS = 60.0
"""How long such a command may take."""


@contextmanager
def notifying(terminal: Terminal, command: str | None, source: str) -> Iterator[None]:
    """Run a command after a block, whatever becomes of it.

    The command finds in its environment: VIDX4_STATUS (done, failed, stopped or time-up), VIDX4_MESSAGE (what
    went wrong) and VIDX4_INPUT. Names are only given in this way, so that nothing in one is ever run.

    Args:
        terminal: warns if the command fails.
        command: what a shell runs; None for nothing.
        source: what the work was on.
    """
    if command is None:
        yield
        return
    status, message = "done", ""
    try:
        yield
    except BaseException as error:
        status, message = _outcome(error)
        raise
    finally:
        _run(terminal, command, {"STATUS": status, "MESSAGE": message, "INPUT": source})


def _outcome(error: BaseException) -> tuple[str, str]:
    """Return what an error means for the work, and its message."""
    words = [str(error), *getattr(error, "__notes__", [])] if isinstance(error, Vidx4Error) else []
    message = " ".join(words)
    if isinstance(error, TimeUpError):
        return "time-up", message
    if isinstance(error, StoppedError | KeyboardInterrupt):
        return "stopped", message
    is_done = isinstance(error, typer.Exit) and error.exit_code == 0
    return ("done" if is_done else "failed"), message


def _run(terminal: Terminal, command: str, facts: dict[str, str]) -> None:
    """Run a command; what it prints goes to standard error, since standard output is for results."""
    environment = {**os.environ, **{f"VIDX4_{name}": value for name, value in facts.items()}}
    try:
        ended = subprocess.run(
            command,
            shell=True,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=_standard_error(),
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    except (OSError, ValueError) as error:
        terminal.say_aside(f"--notify could not run {command!r}: {error}.")
    except subprocess.TimeoutExpired:
        terminal.say_aside(f"--notify was ended: {command!r} took more than {PATIENCE_SECONDS:.0f} s.")
    else:
        if ended.returncode:
            terminal.say_aside(f"--notify: {command!r} failed with exit code {ended.returncode}.")


def _standard_error() -> int:
    try:
        return sys.__stderr__.fileno() if sys.__stderr__ else subprocess.DEVNULL
    except (OSError, ValueError):
        return subprocess.DEVNULL
