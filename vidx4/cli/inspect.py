"""Commands that enlarge nothing: they look at files, models and this machine."""

from pathlib import Path
from typing import Annotated

import typer

from vidx4.cli.options import OutputOptions, output_argument, parse_input
from vidx4.cli.program import Subset, command
from vidx4.cli.tables import show_checks, show_findings, show_models, show_source
from vidx4.cli.terminal import Terminal
from vidx4.jobs.destination import Destination
from vidx4.jobs.request import OF_A_COPY, Request

Input = Annotated[Path, typer.Argument(metavar="INPUT", parser=parse_input, help="A video.")]
Upscaled = Annotated[Path, typer.Argument(metavar="UPSCALED", parser=parse_input, help="Its enlarged copy.")]
Crops = Annotated[
    Destination | None,
    output_argument("A PNG file or a folder. Default: <copy>_crops.png beside the copy."),
]


@command
def compare(
    terminal: Terminal,
    source: Input,
    upscaled: Upscaled,
    destination: OutputOptions,
    request: Annotated[Request, Subset(only=("overwrite",))],
    to: Crops = None,
) -> None:
    """Write a picture of crops from the middle of a video: bicubic beside its enlarged copy."""
    from vidx4.jobs.preview.crops import compare

    crops = destination.or_positional(to)
    terminal.done(compare(source, upscaled, crops, overwrite=request.overwrite))


@command
def verify(
    terminal: Terminal,
    source: Input,
    upscaled: Upscaled,
    request: Annotated[Request, Subset(only=OF_A_COPY)],
) -> None:
    """Compare a video with its enlarged copy: frames, times, streams, colours; fail if anything is lost.

    Give the options again that decided what the copy holds.
    """
    from vidx4.jobs.verify import verify

    show_checks(terminal, verify(source, upscaled, request))


@command
def probe(terminal: Terminal, source: Input) -> None:
    """Show what a video file holds."""
    from vidx4.media.probe import probe

    show_source(terminal, probe(source))


@command
def models(
    terminal: Terminal,
    folder: Annotated[Path | None, typer.Argument(parser=parse_input, help="Models in files.")] = None,
) -> None:
    """Show the known models, or those in a folder: what they are, how large, and where they are."""
    if folder is None:
        from vidx4.diffusion.models.known import known_models

        show_models(terminal, "model", known_models())
    else:
        from vidx4.diffusion.models.folder_listing import list_models

        show_models(terminal, "model_file", list(list_models(folder)))


@command
def doctor(terminal: Terminal) -> None:
    """Check this machine: what is fine, what is not, and what to do about it."""
    from vidx4.jobs.doctor import examine

    show_findings(terminal, examine())
