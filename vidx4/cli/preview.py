"""`vidx4 preview`: moments before and after, and what the whole would take."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vidx4.cli.options import More, OutputOptions, output_argument, parse_input, refuse_more
from vidx4.cli.program import Subset, command
from vidx4.cli.terminal import Terminal
from vidx4.cli.video_view import show_preview, show_preview_plan
from vidx4.diffusion.options import UpscaleOptions
from vidx4.jobs.destination import Destination
from vidx4.jobs.preview.options import PreviewOptions
from vidx4.jobs.request import JobOptions, Request

Input = Annotated[Path, typer.Argument(metavar="INPUT", parser=parse_input, help="A video.")]
Output = Annotated[
    Destination | None,
    output_argument("A video or a folder. Default: <stem>_x4_preview beside the input."),
]


@command
def preview(
    terminal: Terminal,
    typed: Mapping[str, Any],
    source: Input,
    options: UpscaleOptions,
    request: Annotated[Request, Subset(without=("audio", "subtitles", "strict"))],
    destination: OutputOptions,
    shown: PreviewOptions,
    job: Annotated[JobOptions, Subset(only=("batch_size",))],
    to: Output = None,
    more: More = None,
) -> None:
    """Show moments of a video before and after, and what the whole would take.

    They come as a video, a picture of crops, and a page for comparing.
    """
    from vidx4.diffusion.upscaler import Upscaler
    from vidx4.jobs.local import check_memory
    from vidx4.jobs.preview.run import plan_preview, run_preview
    from vidx4.jobs.preview.sweep import variants_of
    from vidx4.media.source import read_source

    refuse_more("preview", more)
    variants = variants_of(source, typed, shown.sweep)
    output = destination.or_positional(to)
    film = read_source(source, request.read, lambda *size: check_memory(options, *size))
    plan = plan_preview(film, variants, output, request=request, shown=shown)
    show_preview_plan(terminal, plan)
    upscaler = Upscaler.from_options(plan.variants[0].options)
    with terminal.working(source.name) as control:
        made = run_preview(plan, upscaler, job.batch_size, control)
    show_preview(terminal, plan, made)
