"""Options that only the command line has."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from vidx4.errors import OptionError
from vidx4.jobs.destination import OUTPUT, Destination
from vidx4.option import Option, Panel


def parse_input(text: str) -> Path:
    """Parse the name of a source.

    Raises:
        OptionError: it is empty.
    """
    if not text:
        raise OptionError("The input has an empty name: name a file.")
    return Path(text)


def output_argument(description: str) -> Any:
    """Return what makes a parameter the argument OUTPUT of one file."""
    return typer.Argument(metavar="OUTPUT", parser=OUTPUT.parse, help=description)


More = Annotated[list[Path] | None, typer.Argument(metavar="", hidden=True)]
"""Whatever follows the last argument that a command takes."""


def refuse_more(command: str, more: Sequence[Path] | None) -> None:
    """Refuse more names than a command takes, as those that a pattern of the shell stands for.

    Raises:
        OptionError: there are more.
    """
    if more:
        raise OptionError(
            f"vidx4 {command} takes one input and one output, and {more[0]} is neither: vidx4 batch FOLDER "
            "OUTPUT enlarges all files of a folder."
        )


@dataclass(frozen=True)
class TerminalOptions:
    """How much is printed, and how."""

    quiet: Annotated[bool, Option("Print nothing but problems.", Panel.JOB, short="-q")] = False
    verbose: Annotated[
        bool, Option("Print settings, streams and times of stages, too.", Panel.JOB, short="-v")
    ] = False
    json: Annotated[bool, Option("Print events as JSON, one a line.", Panel.JOB)] = False

    def __post_init__(self) -> None:
        if self.quiet and self.verbose:
            raise OptionError("Give --quiet or --verbose, not both.")


@dataclass(frozen=True)
class OutputOptions:
    """Where the result goes."""

    output: Annotated[
        Destination | None,
        Option("The same as the argument OUTPUT.", Panel.OUTPUT, short="-o", syntax=OUTPUT, is_common=True),
    ] = None

    def or_positional(self, output: Destination | None) -> Destination | None:
        """Return the output, given either way.

        Raises:
            OptionError: it is given twice.
        """
        if output is not None and self.output is not None:
            raise OptionError(f"The output is given twice: {output} and --output {self.output}.")
        return output or (None if self.output is None else replace(self.output, is_certain=True))
