"""The program: all commands together."""

import atexit
import gc
import signal
import sys
from typing import Annotated

import typer

# Importing a file registers its commands; the help lists them in this order.
from vidx4.cli import upscale, preview, batch, inspect  # noqa: F401  # isort: skip
from vidx4.cli.options import TerminalOptions
from vidx4.cli.program import app
from vidx4.cli.progress_bar import heeded_signals, pausing_signals, show_cursor
from vidx4.cli.terminal import FAILED, Terminal
from vidx4.printing import discard_output, protect_terminal

__all__ = ["app", "main"]


@app.callback(invoke_without_command=True)
def _program(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", metavar="", help="Print the version.")] = False,
) -> None:
    if version:
        from vidx4 import __version__

        typer.echo(f"vidx4 {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def main() -> None:
    """Run the program; a signal to end it is like Ctrl-C."""
    protect_terminal()
    if sys.argv[1:2] == ["batch"]:
        _supervise()
    for each in heeded_signals():
        signal.signal(each, signal.default_int_handler)  # raises KeyboardInterrupt
    for each in pausing_signals():
        signal.signal(each, lambda *_: None)  # they would end a program that is not at work yet
    # Libraries make half a million objects that stay; looking at them again and again takes a second.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    try:
        app(sys.argv[1:], prog_name="vidx4")
    except BrokenPipeError:
        discard_output()
        raise SystemExit(FAILED) from None


def _supervise() -> None:
    """Run a batch in other processes, as many as its files end, and exit; return in such a process."""
    from vidx4.jobs.folder.supervisor import Supervisor, command_for

    if command := command_for(sys.argv):
        terminal = Terminal(TerminalOptions(json="--json" in sys.argv))

        def warn(message: str) -> None:
            show_cursor()
            terminal.warn(message)

        sys.exit(Supervisor(command, heeded_signals(), warn, pausing_signals()).run())
