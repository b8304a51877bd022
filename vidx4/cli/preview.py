"""`vidx4 preview`: moments before and after, and what the whole would take."""

import shlex
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidx4.cli.options import JobOptions, OutputOptions, PreviewOptions, all_options, as_typed, given
from vidx4.cli.program import Subset, command
from vidx4.cli.terminal import Terminal
from vidx4.cli.video_view import show_preview, show_preview_plan
from vidx4.diffusion.options import UpscaleOptions
from vidx4.errors import OptionError
from vidx4.jobs.request import Request
from vidx4.media.options import EncodeOptions, ReadOptions
from vidx4.option import build
from vidx4.video import TimeRange

if TYPE_CHECKING:
    from vidx4.jobs.preview.run import Choice, PreviewPlan
    from vidx4.video import Source

Input = Annotated[Path, typer.Argument(metavar="INPUT", help="A video.")]
Output = Annotated[
    Path | None, typer.Argument(metavar="OUTPUT", help="Default: <stem>_x4_preview beside the input.")
]


@command
def preview(
    context: typer.Context,
    terminal: Terminal,
    source: Input,
    options: UpscaleOptions,
    request: Annotated[Request, Subset(without=("audio", "subtitles", "strict"))],
    destination: OutputOptions,
    shown: PreviewOptions,
    job: Annotated[JobOptions, Subset(only=("batch_size",))],
    output: Output = None,
) -> None:
    """Show moments of a video before and after, and what the whole would take.

    They come as a video, a picture of crops, and a page for comparing.
    """
    from vidx4.diffusion.upscaler import Upscaler
    from vidx4.jobs.preview.run import run_preview
    from vidx4.jobs.preview.sweep import combinations
    from vidx4.media.source import read_source

    typed = given(context, UpscaleOptions, ReadOptions, TimeRange, EncodeOptions)
    choices = [_choice(source, typed, swept) for swept in combinations(shown.sweep)]
    plan = _plan(
        read_source(source, request.read), choices, destination.or_positional(output), request, shown
    )
    show_preview_plan(terminal, plan)
    upscaler = Upscaler.from_options(choices[0].options)
    with terminal.working(source.name) as control:
        made = run_preview(plan, upscaler, job.batch_size, control)
    show_preview(terminal, plan, made)


def _plan(
    source: "Source",
    choices: "Sequence[Choice]",
    output: Path | None,
    request: Request,
    shown: PreviewOptions,
) -> "PreviewPlan":
    from vidx4.jobs.preview.run import plan_preview

    return plan_preview(
        source,
        choices,
        output,
        span=_moment(shown, request.span),
        within=request.span,
        num_samples=shown.samples or 3,
        duration=shown.duration or Fraction(1),
        layout=shown.layout,
        encode=request.encode,
        with_page=shown.html,
        overwrite=request.overwrite,
    )


def _moment(shown: PreviewOptions, within: TimeRange) -> TimeRange | None:
    """Return the moment that --at asks for; None if moments are chosen."""
    if shown.at is None:
        return None
    stop = shown.at + (shown.duration or 2)
    if shown.at < (within.start or 0) or (within.stop is not None and shown.at >= within.stop):
        raise OptionError(f"--at {float(shown.at):g} is not between --start and --stop.")
    return TimeRange(shown.at, stop if within.stop is None else min(stop, within.stop))


def _choice(source: Path, typed: Mapping[str, Any], swept: Mapping[str, Any]) -> "Choice":
    """Return a setting to be shown: what the user typed, but for what is swept."""
    from vidx4.jobs.preview.run import Choice

    values, known = {**typed, **swept}, all_options(UpscaleOptions, Request)
    name = str(source) if not str(source).startswith("-") else f"./{source}"
    return Choice(
        label=", ".join(f"{flag} {value}" for flag, value in swept.items()),
        options=build(UpscaleOptions, values),
        flags={flag: " ".join(known[flag].format(value)) for flag, value in values.items()},
        command=" ".join(["vidx4 upscale", shlex.quote(name), as_typed(values, known)]).rstrip(),
    )
