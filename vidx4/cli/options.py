"""Options that only the command line has, and which options the user gave."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer

from vidx4.errors import OptionError
from vidx4.jobs.preview.options import Layout
from vidx4.option import Option, OptionField, Panel, options_of, validate
from vidx4.syntax import TIME, Syntax


def parse_output(text: str) -> Path:
    """Parse the name of an output; one that ends with a slash is a folder of numbered pictures."""
    from vidx4.media.pictures.write_sequence import DEFAULT_PATTERN

    return Path(text, DEFAULT_PATTERN) if text.endswith("/") else Path(text)


OUTPUT = Syntax("PATH", "a path", parse_output)


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
        Option("Another way to name the output.", Panel.OUTPUT, short="-o", syntax=OUTPUT, is_common=True),
    ] = None

    def or_positional(self, output: Path | None) -> Path | None:
        """Return the output, given either way.

        Raises:
            OptionError: it is given twice.
        """
        if output is not None and self.output is not None:
            raise OptionError(f"The output is given twice: {output} and --output {self.output}.")
        return output or self.output


@dataclass(frozen=True)
class JobOptions:
    """How a job is run."""

    batch_size: Annotated[
        int | None,
        Option(
            "Frames that are computed together.", Panel.JOB, minimum=1, default="by the size of the frames"
        ),
    ] = None
    restart: Annotated[
        bool, Option("Start from scratch, even if an earlier run can be resumed.", Panel.JOB)
    ] = False
    dry_run: Annotated[
        bool,
        Option("Show what would be done, and what it takes.", Panel.JOB, short="-n", is_common=True),
    ] = False
    ignore_disk_space: Annotated[bool, Option("Start even if the disk looks too small.", Panel.JOB)] = False
    accept_loss: Annotated[
        bool, Option("Write the output even if verification finds something lost.", Panel.JOB)
    ] = False
    report: Annotated[Path | None, Option("Write a report as JSON.", Panel.JOB, metavar="FILE")] = None

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class ClusterOptions:
    """Where the model runs, unless in this process."""

    cluster: Annotated[
        str | None,
        Option(
            "Spread the work over GPUs and machines with Ray: local, auto (the cluster of this machine) or "
            "ray://HOST:PORT.",
            Panel.CLUSTER,
            metavar="ADDRESS",
        ),
    ] = None
    workers: Annotated[
        int | None,
        Option("Number of workers.", Panel.CLUSTER, minimum=1, default="one for each GPU, or for 4 CPUs"),
    ] = None
    send_model: Annotated[
        bool, Option("Send the model's files to machines that can't find them.", Panel.CLUSTER)
    ] = False

    def __post_init__(self) -> None:
        validate(self)
        if self.cluster is None and (self.workers is not None or self.send_model):
            raise OptionError("--workers and --send-model need a cluster: add --cluster.")


@dataclass(frozen=True)
class PreviewOptions:
    """What a preview shows, and how."""

    at: Annotated[
        Fraction | None,
        Option("Show one moment, which begins here.", Panel.INPUT, syntax=TIME, is_common=True),
    ] = None
    samples: Annotated[
        int | None,
        Option("Number of moments to choose.", Panel.INPUT, minimum=1, default="3", is_common=True),
    ] = None
    duration: Annotated[
        Fraction | None,
        Option("Seconds of each moment.", Panel.INPUT, syntax=TIME, default="1; 2 with --at", is_common=True),
    ] = None
    sweep: Annotated[
        tuple[str, ...],
        Option(
            "Compare values of an option; repeat it for a grid.",
            Panel.PICTURE,
            metavar="OPTION=A,B,...",
            is_common=True,
        ),
    ] = ()
    layout: Annotated[Layout, Option("How before and after share the video.", Panel.OUTPUT)] = Layout.SPLIT
    html: Annotated[bool, Option("Don't write the page for comparing.", Panel.OUTPUT)] = True

    def __post_init__(self) -> None:
        validate(self)
        if self.at is not None and self.samples is not None:
            raise OptionError("--at shows one moment and --samples chooses several: give only one of them.")


@dataclass(frozen=True)
class FolderOptions:
    """Which files of a folder are enlarged."""

    include: Annotated[
        tuple[str, ...],
        Option("Only files like this; may be repeated.", Panel.INPUT, metavar="PATTERN", is_common=True),
    ] = ()
    exclude: Annotated[
        tuple[str, ...],
        Option("No files like this; may be repeated.", Panel.INPUT, metavar="PATTERN", is_common=True),
    ] = ()
    watch: Annotated[
        bool, Option("Keep looking for new files, until Ctrl-C.", Panel.INPUT, is_common=True)
    ] = False


def parameter_name(flag: str) -> str:
    """Return the name that Typer knows an option by."""
    return flag.replace("-", "_")


def given(context: typer.Context, *classes: type) -> dict[str, Any]:
    """Return the options of some dataclasses that the user typed, by flag, and their values."""
    values = {}
    for option in all_options(*classes).values():
        source = context.get_parameter_source(parameter_name(option.flag))
        if source is not None and source.name == "COMMANDLINE":
            value = context.params[parameter_name(option.flag)]
            values[option.flag] = tuple(value) if option.is_list else value
    return values


def all_options(*classes: type) -> dict[str, OptionField]:
    """Return the options of several dataclasses, by flag."""
    return {flag: option for each in classes for flag, option in options_of(each).items()}


def as_typed(values: Mapping[str, Any], options: Mapping[str, OptionField]) -> str:
    """Return options as they are typed in a shell."""
    texts = ((flag, text) for flag, value in values.items() for text in options[flag].format(value))
    return shlex.join(f"--{flag}={text}" for flag, text in texts)
