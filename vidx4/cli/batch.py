"""`vidx4 batch`: a folder of videos and pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidx4.cli.folder_view import BatchView, show_plan, show_reports
from vidx4.cli.options import OutputOptions
from vidx4.cli.program import Subset, command
from vidx4.cli.progress_bar import heeded_signals
from vidx4.cli.terminal import FAILED, Terminal
from vidx4.diffusion.options import UpscaleOptions
from vidx4.errors import OptionError, StoppedError
from vidx4.jobs.cluster.options import ClusterOptions
from vidx4.jobs.destination import Destination
from vidx4.jobs.folder.options import NO_OPTIONS, FolderOptions
from vidx4.jobs.request import JobOptions, Request

if TYPE_CHECKING:
    from vidx4.jobs.folder.files import Batch
    from vidx4.jobs.folder.reports import FileReport

Folder = Annotated[
    Path,
    typer.Argument(metavar="FOLDER", exists=True, file_okay=False, help="Videos and pictures, at any depth."),
]
Output = Annotated[
    Path | None,
    typer.Argument(metavar="OUTPUT", file_okay=False, help="Folder for the results; it gets the same tree."),
]


@command
def batch(
    terminal: Terminal,
    typed: Mapping[str, Any],
    folder: Folder,
    options: UpscaleOptions,
    request: Annotated[Request, Subset(without=NO_OPTIONS)],
    destination: OutputOptions,
    files: FolderOptions,
    job: JobOptions,
    cluster: ClusterOptions,
    to: Output = None,
) -> None:
    """Enlarge all videos and pictures of a folder; run it again to resume.

    A file vidx4.toml in the folder may give options, for all files or for those that match a pattern.
    """
    from vidx4.jobs.cluster.model_loader import loader
    from vidx4.jobs.folder.files import Batch
    from vidx4.jobs.folder.journal import supervised
    from vidx4.jobs.folder.overrides import options_by_file
    from vidx4.jobs.folder.selection import Selection
    from vidx4.jobs.report import check_report

    if job.report is not None:
        check_report(job.report, folder)
    output = destination.or_positional(None if to is None else Destination(to))
    if output is None:
        raise OptionError(f"Name a folder for the results: vidx4 batch {folder} OUTPUT.")
    selection = Selection(folder, output.path, files.include, files.exclude, files.trust_folder)
    options_of_file = options_by_file(folder, typed, request, is_trusted=files.trust_folder)
    with supervised(heeded_signals()) as journal, loader(cluster, options.device) as load:
        todo = Batch(
            selection,
            options_of_file,
            load=load,
            is_local=cluster.cluster is None,
            restart=job.restart,
            ignore_disk_space=job.ignore_disk_space,
            accept_loss=job.accept_loss,
            journal=journal,
        )
        _work_through(todo, files.watch, job, terminal)


def _work_through(todo: "Batch", watch: bool, job: JobOptions, terminal: Terminal) -> None:
    from vidx4.jobs.folder.reports import summary
    from vidx4.jobs.report import write_report

    view = BatchView(terminal)
    if job.dry_run:
        found = todo.selection.survey()
        view.passed_over(found.passed_over)
        show_plan(terminal, todo.look_at(found.paths))
        return
    reports, is_stopped = _reports(todo, watch, view)
    if job.report is not None:
        write_report(job.report, summary(reports, view.reasons))
    show_reports(terminal, reports, len(view.reasons))
    num_left = sum(each.outcome == "left" for each in reports)
    if is_stopped and not watch:
        error = StoppedError("Stopped.")
        error.add_note(f"{num_left} of {len(reports)} files are left; the same command resumes.")
        raise error
    if num_left or any(each.outcome == "failed" for each in reports):
        raise typer.Exit(FAILED)


def _reports(todo: "Batch", watch: bool, view: BatchView) -> tuple[list["FileReport"], bool]:
    """Return the outcomes of the files, and whether the user stopped the batch."""
    from vidx4.jobs.folder import passes
    from vidx4.jobs.folder.selection import check_not_empty

    with view.display() as stop:
        if watch:
            return passes.watch(todo, view, stop), stop.is_set()
        found = todo.selection.survey()
        view.passed_over(found.passed_over)
        check_not_empty(todo.selection, found.paths)
        return passes.Pass(todo, view, stop).run(found.paths), stop.is_set()
