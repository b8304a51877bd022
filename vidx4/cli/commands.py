"""The program: all commands together."""

import atexit
import gc
import signal
import sys
from typing import Annotated, NoReturn

import typer

# Their order is that of the help.
from vidx4.cli.upscale import upscale  # isort: skip
from vidx4.cli.preview import preview  # isort: skip
from vidx4.cli.batch import batch  # isort: skip
from vidx4.cli.inspect import compare, doctor, models, probe, verify
from vidx4.cli.program import app
from vidx4.cli.progress_bar import heeded_signals

__all__ = ["app", "batch", "compare", "doctor", "main", "models", "preview", "probe", "upscale", "verify"]


@app.callback(invoke_without_command=True)
def _program(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from vidx4 import __version__

        typer.echo(f"vidx4 {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Run the program; a signal to end it is like Ctrl-C."""
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  # file names need not be text
    for each in heeded_signals():
        signal.signal(each, _interrupt)
    # Libraries make half a million objects that stay; looking at them again and again takes a second.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    app(sys.argv[1:], prog_name="vidx4")
