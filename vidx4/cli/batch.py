"""`vidx4 batch`: a folder of videos and pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidx4.cli.folder_view import BatchView, show_reports, show_trial
from vidx4.cli.notify import notifying
from vidx4.cli.options import OutputOptions
from vidx4.cli.program import Subset, command
from vidx4.cli.progress_bar import heeded_signals
from vidx4.cli.terminal import Terminal
from vidx4.diffusion.options import UpscaleOptions
from vidx4.errors import OptionError, TimeUpError
from vidx4.jobs.cluster.options import ClusterOptions
from vidx4.jobs.destination import Destination
from vidx4.jobs.folder.options import NO_OPTIONS, FolderOptions
from vidx4.jobs.request import JobOptions, Request
from vidx4.jobs.schedule import ScheduleOptions

if TYPE_CHECKING:
    from vidx4.jobs.folder.files import Batch
    from vidx4.jobs.folder.selection import Selection

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
    schedule: ScheduleOptions,
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
    from vidx4.jobs.report import check_report

    selection = _selection(folder, destination.or_positional(None if to is None else Destination(to)), files)
    if job.report is not None:
        check_report(job.report, folder, selection.output_folder)
    options_of_file = options_by_file(folder, typed, request, is_trusted=files.trust_folder)
    with (
        notifying(terminal, schedule.notify, str(folder)),
        supervised(heeded_signals()) as journal,
        loader(cluster, options.device) as models,
    ):
        todo = Batch(
            selection,
            options_of_file,
            loader=models,
            night=schedule.seconds(journal.begun),
            is_local=cluster.cluster is None,
            restart=job.restart,
            ignore_disk_space=job.ignore_disk_space,
            accept_loss=job.accept_loss,
            journal=journal,
        )
        (_show_plan if job.dry_run else _work_through)(todo, files, job, schedule, terminal)


def _selection(folder: Path, output: Destination | None, files: FolderOptions) -> "Selection":
    from vidx4.jobs.folder.selection import Selection

    if output is None:
        raise OptionError(f"Name a folder for the results: vidx4 batch {folder} OUTPUT.")
    names = files.include, files.exclude, files.trust_folder, files.full_names
    return Selection(folder, output.path, *names)


def _show_plan(
    todo: "Batch", files: FolderOptions, job: JobOptions, schedule: ScheduleOptions, terminal: Terminal
) -> None:
    from vidx4.jobs.folder.passes import Pass
    from vidx4.jobs.folder.reports import plan_summary
    from vidx4.jobs.folder.settling import Settling
    from vidx4.jobs.report import write_report

    view = BatchView(terminal)
    with view.display(schedule, todo.journal.begun) as stop:
        looks = Pass(todo, view, stop, Settling(files.settled_after)).look_at_all()
    stop.check()
    if job.report is not None:
        write_report(job.report, plan_summary([look.facts() for look in looks], view.reasons))
    show_trial(terminal, looks)


def _work_through(
    todo: "Batch", files: FolderOptions, job: JobOptions, schedule: ScheduleOptions, terminal: Terminal
) -> None:
    from vidx4.jobs.folder.passes import Pass
    from vidx4.jobs.folder.reports import has_left, summary
    from vidx4.jobs.folder.settling import Settling
    from vidx4.jobs.folder.watch import Watch
    from vidx4.jobs.report import write_report

    view = BatchView(terminal)
    with view.display(schedule, todo.journal.begun) as stop:
        work = (Watch if files.watch else Pass)(todo, view, stop, Settling(files.settled_after))
        try:
            work.run_all()
        finally:
            if job.report is not None:
                write_report(job.report, summary(work.reports, view.reasons))
    is_early = not files.watch or isinstance(stop.error, TimeUpError) or has_left(work.reports)
    ended = stop.error if stop.is_set() and is_early else None
    show_reports(terminal, work.reports, len(view.reasons), ended)
