"""Arguments -> one call -> messages and an exit code."""

import inspect
import re
import shlex
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import wraps
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, get_args

import typer

from vidx4.errors import OptionError
from vidx4.live import heeded_signals
from vidx4.terminal import Terminal

if TYPE_CHECKING:
    from vidx4.diffusion.options import UpscaleOptions
    from vidx4.diffusion.upscaler import Upscaler
    from vidx4.jobs.plan import Plan
    from vidx4.jobs.preview import Choice
    from vidx4.media.encoder import EncodeOptions
    from vidx4.video import TimeRange

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Make old videos four times larger, with their own sound and timing.",
)


_TIME = re.compile(r"(?:(?:(\d{1,4}):)?(\d{1,4}):)?(\d{1,9}(?:\.\d{1,9})?|\.\d{1,9})")


def _time(text: str) -> Fraction:
    """Parse seconds or [hh:]mm:ss, both with decimals."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is no time: give seconds or hh:mm:ss.ms.")
    hours, minutes, seconds = match.groups(default="0")
    return 3600 * int(hours) + 60 * int(minutes) + Fraction(seconds)


def _model_flags(
    model: Annotated[str, typer.Option(help="auto, compact, sd-x4, a hub repository or a folder.")] = "auto",
    prompt: Annotated[str, typer.Option(help="What the picture shows (sd-x4).")] = "",
    negative_prompt: Annotated[str, typer.Option(help="What it does not show (sd-x4).")] = "",
    steps: Annotated[int | None, typer.Option(help="Denoising steps: more give more texture.")] = None,
    guidance_scale: Annotated[float | None, typer.Option(help="Weight of the prompt; 1 is none.")] = None,
    noise_level: Annotated[int | None, typer.Option(help="How much to restore: 0 trusts the source.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same picture.")] = 0,
    strength: Annotated[float, typer.Option(help="From 0, the bicubic picture, to 1, the model's.")] = 1.0,
    temporal: Annotated[
        str,
        typer.Option(
            help="How frames hold together: off (each alone: it flickers), fixed (the same noise in all) or "
            "moving (noise and detail follow the motion)."
        ),
    ] = "moving",
    consistency: Annotated[
        float | None, typer.Option(help="How firmly detail follows the motion, 0 to 1; more is softer.")
    ] = None,
    steadiness: Annotated[
        float, typer.Option(help="The same for the finished picture, on top of it, 0 to 1.")
    ] = 0.0,
    reuse_threshold: Annotated[
        float, typer.Option(help="Mean difference (of 255) up to which a frame counts as the last one.")
    ] = 0.0,
    tile_size: Annotated[
        int | None, typer.Option(help="Denoise tiles of this side (of the source), each by itself.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, float16 or bfloat16.")] = "auto",
) -> "UpscaleOptions":
    from vidx4.diffusion.options import UpscaleOptions

    return UpscaleOptions(
        model=model,
        prompt=prompt,
        negative_prompt=negative_prompt,
        num_inference_steps=steps,
        guidance_scale=guidance_scale,
        noise_level=noise_level,
        seed=seed,
        strength=strength,
        temporal=temporal,
        consistency=consistency,
        steadiness=steadiness,
        reuse_threshold=reuse_threshold,
        tile_size=tile_size,
        device=device,
        dtype=dtype,
    )


def _encode_flags(
    codec: Annotated[str, typer.Option(help="auto, h264, hevc, av1, vp9 or ffv1.")] = "auto",
    crf: Annotated[int | None, typer.Option(help="Quality: lower is better and larger.")] = None,
    preset: Annotated[str | None, typer.Option(help="Speed of the encoder, in its own words.")] = None,
) -> "EncodeOptions":
    from vidx4.media.encoder import EncodeOptions

    return EncodeOptions(codec, crf, preset)


def _span_flags(
    start: Annotated[Fraction | None, typer.Option(parser=_time, metavar="TIME", help="Begin here.")] = None,
    stop: Annotated[Fraction | None, typer.Option(parser=_time, metavar="TIME", help="End here.")] = None,
) -> "TimeRange":
    from vidx4.video import TimeRange

    return TimeRange(start, stop)


def _terminal_flags(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> Terminal:
    again = [argument for argument in sys.argv[1:] if argument != "--restart"]
    return Terminal(quiet=quiet, json=json, command=shlex.join(["vidx4", *again]))


@dataclass(frozen=True)
class _Work:
    """How a job is gone about."""

    batch_size: int | None
    overwrite: bool
    restart: bool
    force: bool
    dry_run: bool
    report: Path | None


def _work_flags(
    batch_size: Annotated[int | None, typer.Option(min=1, help="Frames that are computed together.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew, not where an earlier run ended.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Begin though the disk seems too small.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what will be done, and what it takes.")
    ] = False,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write what was done as JSON.")] = None,
) -> _Work:
    return _Work(batch_size, overwrite, restart, force, dry_run, report)


def _command(**groups: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command; parameters named in `groups` are made from flags of their own.

    A group is a function whose parameters are flags and whose result is the argument. Errors that are
    meant for the user become a message and an exit code.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        signatures = {name: inspect.signature(group).parameters for name, group in groups.items()}

        @wraps(function)
        def command(**values: Any) -> None:
            terminal = _terminal_flags(**{name: values.pop(name) for name in signatures["terminal"]})
            with terminal.session():
                for group, flags in signatures.items():
                    if group != "terminal":
                        values[group] = groups[group](**{name: values.pop(name) for name in flags})
                function(terminal=terminal, **values)

        own = [p for p in inspect.signature(function).parameters.values() if p.name not in groups]
        flags = [flag for group in signatures.values() for flag in group.values()]
        ordered = sorted([*own, *flags], key=lambda p: p.default is not p.empty)
        keyword_only = [p.replace(kind=p.KEYWORD_ONLY) for p in ordered]
        command.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in keyword_only}
        app.command()(command)
        return command

    return register


Source = Annotated[Path, typer.Argument(metavar="INPUT", help="A video.", show_default=False)]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Frames that are computed together.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]


@app.callback(invoke_without_command=True)
def _program(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from vidx4 import __version__

        typer.echo(f"vidx4 {__version__}")


@_command(
    options=_model_flags, encode=_encode_flags, span=_span_flags, work=_work_flags, terminal=_terminal_flags
)
def upscale(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A video or a still picture.")],
    options: "UpscaleOptions",
    encode: "EncodeOptions",
    span: "TimeRange",
    work: _Work,
    terminal: Terminal,
    output: Annotated[Path | None, typer.Argument(help="Default: <stem>_x4 beside the input.")] = None,
) -> None:
    """Make a video or a still picture four times larger; run it again to go on where it was stopped."""
    from vidx4.diffusion.upscaler import Upscaler
    from vidx4.jobs.picture import is_picture, plan_picture, upscale_picture
    from vidx4.jobs.plan import plan_video

    if is_picture(source):
        _refuse_for_picture(encode, span, work)
        written = plan_picture(source, output, overwrite=work.overwrite)
        upscale_picture(source, written, Upscaler.from_options(options))
        terminal.done(written)
        return
    plan = plan_video(source, output, span=span, encode=encode, overwrite=work.overwrite)
    terminal.plan(plan)
    _carry_out(plan, Upscaler.from_options(options), work, terminal)


def _carry_out(plan: "Plan", upscaler: "Upscaler", work: _Work, terminal: Terminal) -> None:
    from vidx4.jobs.parts import Job
    from vidx4.jobs.preflight import check_disk
    from vidx4.jobs.report import write_report
    from vidx4.jobs.run import start
    from vidx4.media.whole import check_writable

    if work.report is not None:
        check_writable(work.report, plan.source.path, work.overwrite)
    job = Job.of(plan, upscaler, work.batch_size)
    with (
        terminal.working(plan.source.path.name) as control,
        start(job, control, restart=work.restart, is_trial=work.dry_run) as run,
    ):
        estimate = run.estimate()
        terminal.estimate(estimate, job)
        if not work.force:
            check_disk(plan, estimate)
        if work.dry_run:
            terminal.trial(plan)
            return
        report = run.finish()
    if work.report is not None:
        write_report(work.report, report.facts())
    terminal.report(report)


@_command(options=_model_flags, encode=_encode_flags, terminal=_terminal_flags)
def preview(
    context: typer.Context,
    source: Source,
    options: "UpscaleOptions",
    encode: "EncodeOptions",
    terminal: Terminal,
    output: Annotated[Path | None, typer.Argument(help="Default: <stem>_x4_preview, beside it.")] = None,
    at: Annotated[
        Fraction | None,
        typer.Option(parser=_time, metavar="TIME", help="Show what begins here, nothing else."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Show so many moments of the whole film.")] = 3,
    duration: Annotated[
        Fraction | None, typer.Option(parser=_time, metavar="TIME", help="Of each; default 1, with --at 2.")
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(metavar="OPTION=A,B,...", help="Compare values of an option; several make a grid."),
    ] = None,
    layout: Annotated[str, typer.Option(help="Of the video: split, side or alternate.")] = "split",
    html: Annotated[bool, typer.Option(help="Write a page to compare all on.")] = True,
    batch_size: BatchSize = None,
    overwrite: Overwrite = False,
) -> None:
    """Show moments of a video before and after, in a video, a picture and a page, and what all would cost."""
    from vidx4.diffusion.upscaler import Upscaler
    from vidx4.jobs.layouts import Layout
    from vidx4.jobs.preview import plan_preview, run_preview
    from vidx4.media.probe import probe
    from vidx4.video import TimeRange

    given = _given(context, _model_flags, _encode_flags)
    choices = [_choice(source, options, given, swept) for swept in _grid(sweep or [])]
    span = None
    if at is not None:
        span = TimeRange(at, at + (duration or 2))
    plan = plan_preview(
        probe(source),
        choices,
        output,
        span=span,
        num_samples=samples,
        duration=duration or Fraction(1),
        layout=Layout.of(layout),
        encode=encode,
        with_page=html,
        overwrite=overwrite,
    )
    terminal.preview_plan(plan)
    upscaler = Upscaler.from_options(choices[0].options)
    with terminal.working(source.name) as control:
        made = run_preview(plan, upscaler, batch_size, control)
    terminal.preview(made)


def _given(context: typer.Context, *groups: Callable[..., Any]) -> dict[str, str]:
    """Return the flags of some groups that the user typed, and their values."""
    names = (name for group in groups for name in inspect.signature(group).parameters)
    typed = (name for name in names if _is_typed(context, name))
    return {name.replace("_", "-"): str(context.params[name]) for name in typed}


def _is_typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _grid(sweeps: list[str]) -> list[dict[str, str]]:
    """Return every combination of the values to be compared; a single one if there are none."""
    values: dict[str, list[str]] = {}
    for sweep in sweeps:
        flag, equals, listed = sweep.partition("=")
        values[flag.removeprefix("--")] = [value.strip() for value in listed.split(",") if value.strip()]
        if not equals or not values[flag.removeprefix("--")]:
            raise OptionError(f"{sweep!r} compares nothing: write --sweep as in noise-level=0,20,60.")
    return [dict(zip(values, combination, strict=True)) for combination in product(*values.values())]


def _choice(
    source: Path, options: "UpscaleOptions", given: dict[str, str], swept: dict[str, str]
) -> "Choice":
    """Return a setting: the options with the swept ones in place of theirs."""
    from vidx4.jobs.preview import Choice

    changes = {_FIELDS.get(flag, flag.replace("-", "_")): _value(flag, text) for flag, text in swept.items()}
    flags = given | swept
    typed = [f"--{flag}={value}" for flag, value in flags.items()]
    name = str(source) if not str(source).startswith("-") else f"./{source}"
    label = ", ".join(f"{flag} {value}" for flag, value in swept.items())
    return Choice(label, replace(options, **changes), flags, shlex.join(["vidx4", "upscale", name, *typed]))


_FIELDS = {"steps": "num_inference_steps"}
"""Fields of `UpscaleOptions` that are called otherwise on the command line."""


def _value(flag: str, text: str) -> Any:
    """Return the value of a flag of the model in its type."""
    parameter = inspect.signature(_model_flags).parameters.get(flag.replace("-", "_"))
    if parameter is None:
        raise OptionError(f"There is no option --{flag} of the model to compare.")
    kind = get_args(parameter.annotation)[0]
    kind = next((each for each in get_args(kind) if each is not type(None)), kind)
    try:
        return kind(text)
    except ValueError as error:
        raise OptionError(f"--{flag} takes no {text!r}.") from error


@_command(options=_model_flags, encode=_encode_flags, terminal=_terminal_flags)
def batch(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="With videos and pictures.")],
    output_folder: Annotated[Path, typer.Argument(file_okay=False, help="Gets the same tree.")],
    options: "UpscaleOptions",
    encode: "EncodeOptions",
    terminal: Terminal,
    batch_size: BatchSize = None,
    overwrite: Overwrite = False,
) -> None:
    """Enlarge all videos and pictures of a folder; what is done already is skipped."""
    from vidx4.diffusion.upscaler import Upscaler
    from vidx4.jobs.batch import plan_folder, run_file

    jobs = plan_folder(folder, output_folder)
    upscaler = Upscaler.from_options(options)
    reports = []
    for job in jobs:
        with terminal.working(str(job.path.relative_to(folder))) as control:
            reports.append(run_file(job, upscaler, encode, batch_size, control, overwrite=overwrite))
        terminal.file(reports[-1])
    terminal.folder(reports)


@_command(terminal=_terminal_flags)
def compare(
    source: Source,
    upscaled: Annotated[Path, typer.Argument(help="Its enlarged copy.", show_default=False)],
    terminal: Terminal,
    crops: Annotated[Path | None, typer.Argument(help="Default: <copy>_crops.png beside the copy.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a picture of crops from the middle of a video: bicubic and its enlarged copy, side by side."""
    from vidx4.jobs.crops import compare

    terminal.done(compare(source, upscaled, crops, overwrite=overwrite))


@_command(terminal=_terminal_flags)
def probe(source: Source, terminal: Terminal) -> None:
    """Show what a video file holds."""
    from vidx4.media.probe import probe

    terminal.source(probe(source))


@_command(terminal=_terminal_flags)
def models(terminal: Terminal) -> None:
    """Show the known models: where they lie, how large they are, whether they are there."""
    from vidx4.diffusion.models import known_models

    terminal.models(known_models())


@_command(terminal=_terminal_flags)
def doctor(terminal: Terminal) -> None:
    """Check this machine: what is fine, what is not, and what to do."""
    from vidx4.jobs.doctor import examine

    terminal.findings(examine())


def _refuse_for_picture(encode: "EncodeOptions", span: "TimeRange", work: _Work) -> None:
    plain = _Work(None, work.overwrite, restart=False, force=False, dry_run=False, report=None)
    if not span.is_whole or encode != type(encode)() or work != plain:
        raise OptionError(
            "A still picture has one frame, no codec and no parts: of the options for that, only --overwrite "
            "has a meaning."
        )


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Run the program; being told to stop is like Ctrl-C."""
    for each in heeded_signals():
        signal.signal(each, _interrupt)
    app()
