"""Arguments -> one call -> messages and an exit code."""

import atexit
import gc
import inspect
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from vidx4.cli.folder_view import BatchView, fail_unless_well, show_plan, show_reports
from vidx4.cli.options import (
    BatchSize,
    FrameRate,
    Overwrite,
    Where,
    Work,
    as_typed,
    cluster_flags,
    encode_flags,
    grid,
    kinds,
    made,
    model_flags,
    parse_output,
    parse_time,
    read_flags,
    size_flags,
    span_flags,
    stream_flags,
    terminal_flags,
    typed,
    work_flags,
)
from vidx4.cli.progress_bar import heeded_signals
from vidx4.cli.terminal import Terminal
from vidx4.errors import OptionError, StoppedError

if TYPE_CHECKING:
    from vidx4.diffusion.options import UpscaleOptions
    from vidx4.jobs.folder.files import Batch, FileOptions, FileReport
    from vidx4.jobs.job import Backend
    from vidx4.jobs.plan import Plan
    from vidx4.jobs.preview.run import Variant
    from vidx4.media.options import EncodeOptions, ReadOptions, StreamOptions
    from vidx4.video import TimeRange

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Make old videos four times larger, with their own sound and timing.",
)


def _command(**groups: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command; parameters named in `groups` are made from flags of their own.

    A group is a function whose parameters are flags and whose result is the argument. Errors that are
    meant for the user become a message and an exit code.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        signatures = {name: inspect.signature(group).parameters for name, group in groups.items()}

        @wraps(function)
        def command(**values: Any) -> None:
            terminal = terminal_flags(**{name: values.pop(name) for name in signatures["terminal"]})
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


@app.callback(invoke_without_command=True)
def _program(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from vidx4 import __version__

        typer.echo(f"vidx4 {__version__}")


@_command(
    options=model_flags,
    encode=encode_flags,
    read=read_flags,
    streams=stream_flags,
    span=span_flags,
    work=work_flags,
    where=cluster_flags,
    terminal=terminal_flags,
)
def upscale(
    source: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help="A video, a still picture or a folder of numbered pictures."),
    ],
    options: "UpscaleOptions",
    encode: "EncodeOptions",
    read: "ReadOptions",
    streams: "StreamOptions",
    span: "TimeRange",
    work: Work,
    where: Where,
    terminal: Terminal,
    output: Annotated[
        Path | None, typer.Argument(parser=parse_output, help="Default: <stem>_x4 beside the input.")
    ] = None,
    frame_rate: FrameRate = None,
) -> None:
    """Make a video or a still picture four times larger; run it again to go on where it was stopped.

    Into a folder, or to frames/%06d.png, it writes numbered pictures.
    """
    from vidx4.jobs.plan import plan_video
    from vidx4.jobs.request import Request
    from vidx4.jobs.still.read import is_picture
    from vidx4.jobs.still.upscale import plan_picture, upscale_picture

    if is_picture(source):
        _refuse_for_picture(encode, read, streams, span, work)
        written = plan_picture(source, output, overwrite=work.overwrite)
        with _models(where, options.device) as load:
            upscale_picture(source, written, load(options))
        terminal.done(written)
        return
    plan = plan_video(
        source,
        output,
        Request(
            replace(read, frame_rate=frame_rate), span, encode, streams, work.overwrite, strict=work.strict
        ),
    )
    terminal.plan(plan)
    with _models(where, options.device) as load:
        _carry_out(plan, load(options), work, terminal)


@contextmanager
def _models(where: Where, device: str) -> "Iterator[Callable[[UpscaleOptions], Backend]]":
    """Give what loads models: into this process, or on a cluster that is left after the block."""
    if where.cluster is None:
        from vidx4.jobs.local import load_here

        yield load_here
        return
    if find_spec("ray") is None:
        raise OptionError("A cluster needs Ray, which is not installed: pip install 'vidx4[cluster]'.")
    from vidx4.jobs.cluster.actors import connect

    with connect(where.cluster, where.workers, device, sends_model=where.send_model) as load:
        yield load


def _carry_out(plan: "Plan", backend: "Backend", work: Work, terminal: Terminal) -> None:
    from vidx4.jobs.estimate import check_disk
    from vidx4.jobs.report import write_report
    from vidx4.jobs.run import start
    from vidx4.media.atomic import check_writable

    if work.report is not None:
        check_writable(work.report, plan.source.path, work.overwrite)
    job = backend.job(plan, work.batch_size)
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
        report = run.finish(force=work.force)
    if work.report is not None:
        write_report(work.report, report.facts())
    terminal.report(report)


@_command(options=model_flags, encode=encode_flags, read=read_flags, terminal=terminal_flags)
def preview(
    context: typer.Context,
    source: Source,
    options: "UpscaleOptions",
    encode: "EncodeOptions",
    read: "ReadOptions",
    terminal: Terminal,
    output: Annotated[Path | None, typer.Argument(help="Default: <stem>_x4_preview, beside it.")] = None,
    at: Annotated[
        Fraction | None,
        typer.Option(parser=parse_time, metavar="TIME", help="Show what begins here, nothing else."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Show so many moments of the whole film.")] = 3,
    duration: Annotated[
        Fraction | None,
        typer.Option(parser=parse_time, metavar="TIME", help="Of each; default 1, with --at 2."),
    ] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(metavar="OPTION=A,B,...", help="Compare values of an option; several make a grid."),
    ] = None,
    layout: Annotated[str, typer.Option(help="Of the video: split, side or alternate.")] = "split",
    html: Annotated[bool, typer.Option(help="Write a page to compare all on.")] = True,
    batch_size: BatchSize = None,
    frame_rate: FrameRate = None,
    overwrite: Overwrite = False,
) -> None:
    """Show moments of a video before and after, in a video, a picture and a page, and what all would cost."""
    from vidx4.diffusion.upscaler import Upscaler
    from vidx4.jobs.preview.layout import Layout
    from vidx4.jobs.preview.run import plan_preview, run_preview
    from vidx4.media.source import read_source
    from vidx4.video import TimeRange

    given = typed(context, model_flags, encode_flags, read_flags)
    choices = [_choice(source, given, swept) for swept in grid(sweep or [])]
    span = None
    if at is not None:
        span = TimeRange(at, at + (duration or 2))
    plan = plan_preview(
        read_source(source, replace(read, frame_rate=frame_rate)),
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


def _choice(source: Path, given: Mapping[str, Any], swept: Mapping[str, Any]) -> "Variant":
    """Return a setting to be shown: what the user gave, but for what is swept."""
    from vidx4.jobs.preview.run import Variant

    values = {**given, **swept}
    name = str(source) if not str(source).startswith("-") else f"./{source}"
    return Variant(
        label=", ".join(f"{flag} {value}" for flag, value in swept.items()),
        options=made(model_flags, values),
        flags={flag: str(value) for flag, value in values.items()},
        command=shlex.join(["vidx4", "upscale", name, *as_typed(values)]),
    )


@_command(
    options=model_flags,
    encode=encode_flags,
    read=read_flags,
    streams=stream_flags,
    work=work_flags,
    where=cluster_flags,
    terminal=terminal_flags,
)
def batch(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="With videos and pictures.")],
    output_folder: Annotated[Path, typer.Argument(file_okay=False, help="Gets the same tree.")],
    options: "UpscaleOptions",
    encode: "EncodeOptions",
    read: "ReadOptions",
    streams: "StreamOptions",
    work: Work,
    where: Where,
    terminal: Terminal,
    include: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Only files like this; may be given again.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="No files like this; may be given again.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on looking for new files, until Ctrl-C.")
    ] = False,
) -> None:
    """Enlarge all videos and pictures of a folder; what is done already is skipped.

    A file vidx4.toml in the folder may give options, for all files or by patterns: see the README.
    """
    from vidx4.jobs.folder.files import Batch, summary
    from vidx4.jobs.folder.overrides import Overrides
    from vidx4.jobs.folder.selection import Selection
    from vidx4.jobs.report import write_report
    from vidx4.media.atomic import check_writable

    if work.report is not None:
        check_writable(work.report, folder, overwrite=True)
    selection = Selection(folder, output_folder, tuple(include or ()), tuple(exclude or ()))
    groups = (model_flags, encode_flags, read_flags, stream_flags)
    known = kinds(*groups) | {"batch-size": int}
    overrides = Overrides.load(folder, known)
    given = typed(context, *groups, work_flags)
    given = {flag: value for flag, value in given.items() if flag in known}
    for pattern in ("", *overrides.by_pattern):
        _file_options({**overrides.defaults, **overrides.by_pattern.get(pattern, {}), **given}, work)
    with _models(where, options.device) as load:
        todo = Batch(
            selection,
            lambda name: _file_options({**overrides.of(name), **given}, work),
            load=load,
            restart=work.restart,
            force=work.force,
        )
        if work.dry_run:
            show_plan(terminal, todo.look_at(selection.find()))
            return
        reports, is_stopped = _work_through(todo, watch, terminal)
    if work.report is not None:
        write_report(work.report, summary(reports))
    show_reports(terminal, reports)
    if is_stopped and not watch:
        raise _stopped(reports)
    fail_unless_well(reports)


def _work_through(todo: "Batch", watch: bool, terminal: Terminal) -> tuple[list["FileReport"], bool]:
    """Return what became of the files, and whether the user stopped that."""
    from vidx4.jobs.folder.passes import Pass
    from vidx4.jobs.folder.passes import watch as watch_folder
    from vidx4.jobs.folder.selection import check_not_empty

    view = BatchView(terminal)
    with view.display() as stop:
        if watch:
            return watch_folder(todo, view, stop), stop.is_set()
        paths = todo.selection.find()
        check_not_empty(todo.selection, paths)
        return Pass(todo, view, stop).run(paths), stop.is_set()


def _file_options(values: Mapping[str, Any], work: Work) -> "FileOptions":
    from vidx4.jobs.folder.files import FileOptions
    from vidx4.jobs.request import Request

    return FileOptions(
        upscale=made(model_flags, values),
        request=Request(
            encode=made(encode_flags, values),
            read=made(read_flags, values),
            streams=made(stream_flags, values),
            overwrite=work.overwrite,
            strict=work.strict,
        ),
        batch_size=values.get("batch-size"),
        changed=" ".join(as_typed(values)),
    )


def _stopped(reports: "Sequence[FileReport]") -> StoppedError:
    error = StoppedError("Stopped.")
    num_left = sum(report.outcome == "left" for report in reports)
    error.add_note(f"{num_left} of {len(reports)} files are left: the same command goes on.")
    return error


@_command(terminal=terminal_flags)
def compare(
    source: Source,
    upscaled: Annotated[Path, typer.Argument(help="Its enlarged copy.", show_default=False)],
    terminal: Terminal,
    crops: Annotated[Path | None, typer.Argument(help="Default: <copy>_crops.png beside the copy.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a picture of crops from the middle of a video: bicubic and its enlarged copy, side by side."""
    from vidx4.jobs.preview.crops import compare

    terminal.done(compare(source, upscaled, crops, overwrite=overwrite))


@_command(read=read_flags, streams=stream_flags, span=span_flags, size=size_flags, terminal=terminal_flags)
def verify(
    source: Source,
    upscaled: Annotated[Path, typer.Argument(help="Its enlarged copy.", show_default=False)],
    read: "ReadOptions",
    streams: "StreamOptions",
    span: "TimeRange",
    size: tuple[int | None, int | None],
    terminal: Terminal,
    frame_rate: FrameRate = None,
) -> None:
    """Compare a video with its enlarged copy: frames, times, streams, colours; fail if anything is lost.

    Options that decided what the copy holds are given again.
    """
    from vidx4.jobs.request import Request
    from vidx4.jobs.verify import verify
    from vidx4.media.options import EncodeOptions

    read = replace(read, frame_rate=frame_rate)
    width, height = size
    request = Request(read, span, EncodeOptions(width=width, height=height), streams)
    terminal.checks(verify(source, upscaled, request))


@_command(terminal=terminal_flags)
def probe(source: Source, terminal: Terminal) -> None:
    """Show what a video file holds."""
    from vidx4.media.probe import probe

    terminal.source(probe(source))


@_command(terminal=terminal_flags)
def models(terminal: Terminal) -> None:
    """Show the known models: where they lie, how large they are, whether they are there."""
    from vidx4.diffusion.models.registry import known_models

    terminal.models(known_models())


@_command(terminal=terminal_flags)
def doctor(terminal: Terminal) -> None:
    """Check this machine: what is fine, what is not, and what to do."""
    from vidx4.jobs.doctor import examine

    terminal.findings(examine())


def _refuse_for_picture(
    encode: "EncodeOptions", read: "ReadOptions", streams: "StreamOptions", span: "TimeRange", work: Work
) -> None:
    plain = Work(None, work.overwrite, restart=False, force=False, dry_run=False, report=None, strict=False)
    is_plain = all(each == type(each)() for each in (encode, read, streams))
    if not span.is_whole or not is_plain or work != plain:
        raise OptionError(
            "A still picture has one frame, no codec and no parts: of the options for that, only --overwrite "
            "has a meaning."
        )


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Run the program; being told to stop is like Ctrl-C."""
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  # names need not be text
    for each in heeded_signals():
        signal.signal(each, _interrupt)
    # The libraries make half a million objects that stay: looking at them again and again takes a second.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    app()
