"""`vidx4 batch`: a folder of videos and pictures."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidx4.cli.folder_view import BatchView, fail_unless_done, show_plan, show_reports
from vidx4.cli.options import (
    ClusterOptions,
    FolderOptions,
    JobOptions,
    OutputOptions,
    as_typed,
    given,
)
from vidx4.cli.program import Subset, command
from vidx4.cli.terminal import Terminal
from vidx4.cli.upscale import loader
from vidx4.diffusion.options import UpscaleOptions
from vidx4.errors import OptionError, StoppedError
from vidx4.jobs.request import Request
from vidx4.option import build, options_of

if TYPE_CHECKING:
    from vidx4.jobs.folder.files import Batch, FileOptions, FileReport
    from vidx4.jobs.folder.selection import Selection
    from vidx4.jobs.job import Backend

Folder = Annotated[
    Path,
    typer.Argument(metavar="FOLDER", exists=True, file_okay=False, help="Videos and pictures, at any depth."),
]
Output = Annotated[
    Path | None,
    typer.Argument(metavar="OUTPUT", file_okay=False, help="Folder for the results, as the same tree."),
]
_OF_ALL = ("overwrite", "strict")
"""Options of a request that no single file can have."""
_NOT_OFFERED = ("start", "stop", "frame_rate")

FILE_OPTIONS = {
    each.flag: each
    for each in (
        *options_of(UpscaleOptions).values(),
        *Subset(without=(*_NOT_OFFERED, *_OF_ALL)).options_of(Request),
        *Subset(only=("batch_size",)).options_of(JobOptions),
    )
}
"""What vidx4.toml may give, by key."""


@command
def batch(
    context: typer.Context,
    terminal: Terminal,
    folder: Folder,
    options: UpscaleOptions,
    request: Annotated[Request, Subset(without=_NOT_OFFERED)],
    destination: OutputOptions,
    files: FolderOptions,
    job: JobOptions,
    cluster: ClusterOptions,
    output: Output = None,
) -> None:
    """Enlarge all videos and pictures of a folder; run it again to resume.

    A file vidx4.toml in the folder may give options, for all files or for those that match a pattern.
    """
    from vidx4.jobs.folder.selection import Selection
    from vidx4.media.atomic import check_writable

    if job.report is not None:
        check_writable(job.report, folder, overwrite=True)
    output = destination.or_positional(output)
    if output is None:
        raise OptionError(f"Name a folder for the results: vidx4 batch {folder} OUTPUT.")
    selection = Selection(folder, output, files.include, files.exclude)
    typed = given(context, UpscaleOptions, Request, JobOptions)
    options_of_file = _options_by_file(folder, {f: v for f, v in typed.items() if f in FILE_OPTIONS}, request)
    with loader(cluster, options.device) as load:
        todo = _batch(selection, options_of_file, load, job)
        if job.dry_run:
            show_plan(terminal, todo.look_at(selection.find()))
        else:
            _work_through(todo, files.watch, job.report, terminal)


def _batch(
    selection: "Selection",
    options_of_file: "Callable[[str], FileOptions]",
    load: "Callable[[UpscaleOptions], Backend]",
    job: JobOptions,
) -> "Batch":
    from vidx4.jobs.folder.files import Batch

    return Batch(
        selection,
        options_of_file,
        load=load,
        restart=job.restart,
        ignore_disk_space=job.ignore_disk_space,
        accept_loss=job.accept_loss,
    )


def _options_by_file(
    folder: Path, typed: Mapping[str, Any], request: Request
) -> "Callable[[str], FileOptions]":
    """Return what tells the options of a file: those that the user typed, then those of vidx4.toml.

    Raises:
        OptionError: options of vidx4.toml make no sense, for whatever files.
    """
    from vidx4.jobs.folder.files import FileOptions
    from vidx4.jobs.folder.overrides import Overrides

    def made(values: Mapping[str, Any]) -> FileOptions:
        return FileOptions(
            upscale=build(UpscaleOptions, values),
            request=replace(build(Request, values), overwrite=request.overwrite, strict=request.strict),
            batch_size=values.get("batch-size"),
            changed=as_typed(values, FILE_OPTIONS),
        )

    overrides = Overrides.load(folder, FILE_OPTIONS)
    for pattern in ("", *overrides.by_pattern):
        made({**overrides.defaults, **overrides.by_pattern.get(pattern, {}), **typed})
    return lambda name: made({**overrides.of(name), **typed})


def _work_through(todo: "Batch", watch: bool, report: Path | None, terminal: Terminal) -> None:
    from vidx4.jobs.folder.files import summary
    from vidx4.jobs.report import write_report

    reports, is_stopped = _reports(todo, watch, terminal)
    if report is not None:
        write_report(report, summary(reports))
    show_reports(terminal, reports)
    if is_stopped and not watch:
        error = StoppedError("Stopped.")
        num_left = sum(each.outcome == "left" for each in reports)
        error.add_note(f"{num_left} of {len(reports)} files are left; the same command resumes.")
        raise error
    fail_unless_done(reports)


def _reports(todo: "Batch", watch: bool, terminal: Terminal) -> tuple[list["FileReport"], bool]:
    """Return what became of the files, and whether the user stopped the batch."""
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
