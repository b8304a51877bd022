"""Options that only the command line has."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from vidx4.errors import OptionError
from vidx4.jobs.request import OUTPUT
from vidx4.option import Option, Panel


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
        Path | None,
        Option(
            "The same as the argument OUTPUT.",
            Panel.OUTPUT,
            short="-o",
            syntax=OUTPUT,
            is_common=True,
        ),
    ] = None

    def or_positional(self, output: Path | None) -> Path | None:
        """Return the output, given either way.

        Raises:
            OptionError: it is given twice.
        """
        if output is not None and self.output is not None:
            raise OptionError(f"The output is given twice: {output} and --output {self.output}.")
        return output or self.output
