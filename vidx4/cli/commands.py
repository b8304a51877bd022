"""The program: all commands together."""

import atexit
import errno
import gc
import signal
import sys
from typing import Annotated

import typer

# Importing a file registers its commands; the help lists them in this order.
from vidx4.cli import upscale, preview, batch, inspect  # noqa: F401  # isort: skip
from vidx4.cli.options import TerminalOptions
from vidx4.cli.program import app, asks_for_json
from vidx4.cli.progress_bar import heeded_signals, pausing_signals, show_cursor
from vidx4.cli.terminal import BAD_INPUT, FAILED, Terminal
from vidx4.errors import Vidx4Error
from vidx4.printing import LastingStream, protect_terminal

__all__ = ["app", "main"]

_MAKE_FILES = ("upscale", "batch", "preview", "compare")
"""Commands whose result is more than what they print."""


@app.callback(invoke_without_command=True)
def _program(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", metavar="", help="Print the version.")] = False,
) -> None:
    if version:
        from vidx4 import __version__

        print(f"vidx4 {__version__}")  # noqa: T201
    elif context.invoked_subcommand is None:
        print(context.get_help())  # noqa: T201
        raise typer.Exit(BAD_INPUT)


def main() -> None:
    """Run the program; a signal to end it is like Ctrl-C."""
    output = protect_terminal()
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
    except SystemExit as end:
        sys.exit(_delivered(output, end.code))


def _delivered(output: LastingStream, code: str | int | None) -> str | int | None:
    """Return the exit code, which also tells whether a result that is only printed was printed.

    A file that is made is there, whoever reads what is printed meanwhile.
    """
    output.flush()
    if output.failure is None:
        return code
    makes_files = sys.argv[1:2] and sys.argv[1] in _MAKE_FILES
    if output.failure.errno != errno.EPIPE:  # whoever stops reading knows
        reason = output.failure.strerror or output.failure
        Terminal().say(f"Standard output can't be written to: {reason}.", "yellow")
    return code if makes_files else code or FAILED


def _supervise() -> None:
    """Run a batch in other processes, as many as its files end, and exit; return in such a process."""
    from vidx4.jobs.folder.supervisor import Supervisor, command_for

    if command := command_for(sys.argv):
        terminal = Terminal(TerminalOptions(json=asks_for_json(sys.argv)))

        def warn(message: str) -> None:
            show_cursor()
            terminal.warn(message)

        try:
            code = Supervisor(command, heeded_signals(), warn, pausing_signals()).run()
        except Vidx4Error as error:
            code = terminal.failure(error)
        sys.exit(code)
