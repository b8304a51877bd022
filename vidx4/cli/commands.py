"""The program: all commands together."""

import atexit
import gc
import signal
import sys
from typing import Annotated

import typer

# Importing a file registers its commands; the help lists them in this order.
from vidx4.cli import upscale, preview, batch, inspect  # noqa: F401  # isort: skip
from vidx4.cli.program import app
from vidx4.cli.progress_bar import heeded_signals
from vidx4.cli.terminal import FAILED
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
    for each in heeded_signals():
        signal.signal(each, signal.default_int_handler)  # raises KeyboardInterrupt
    # Libraries make half a million objects that stay; looking at them again and again takes a second.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    try:
        app(sys.argv[1:], prog_name="vidx4")
    except BrokenPipeError:
        discard_output()
        raise SystemExit(FAILED) from None
