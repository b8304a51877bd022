"""`vidx4 upscale`: one video or still picture."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidx4.cli.notify import notifying
from vidx4.cli.options import More, OutputOptions, output_argument, parse_input, refuse_more
from vidx4.cli.program import command
from vidx4.cli.terminal import Terminal
from vidx4.cli.video_view import show_estimate, show_picture, show_plan, show_report, show_trial
from vidx4.diffusion.options import UpscaleOptions
from vidx4.errors import OptionError
from vidx4.jobs.cluster.options import ClusterOptions
from vidx4.jobs.destination import Destination
from vidx4.jobs.request import JobOptions, Request
from vidx4.jobs.schedule import ScheduleOptions
from vidx4.option import options_of

if TYPE_CHECKING:
    from vidx4.jobs.job import Backend
    from vidx4.jobs.plan import Plan

Input = Annotated[
    Path,
    typer.Argument(
        metavar="INPUT", parser=parse_input, help="A video, a still picture or a folder of numbered pictures."
    ),
]
Output = Annotated[
    Destination | None,
    output_argument("A file or a folder. Default: <stem>_x4 beside the input."),
]


@command
def upscale(
    terminal: Terminal,
    typed: Mapping[str, Any],
    source: Input,
    options: UpscaleOptions,
    request: Request,
    destination: OutputOptions,
    job: JobOptions,
    schedule: ScheduleOptions,
    cluster: ClusterOptions,
    to: Output = None,
    more: More = None,
) -> None:
    """Make a video or a still picture four times larger; run it again to resume.

    In a folder, the result is called <stem>_x4. If OUTPUT is a pattern such as frames/%06d.png, or INPUT is
    numbered pictures and OUTPUT a folder, numbered pictures are written.
    """
    from vidx4.jobs.still.read import is_picture

    refuse_more("upscale", more)
    schedule.check()
    output = destination.or_positional(to)
    with notifying(terminal, schedule.notify, str(source)):
        if is_picture(source):
            _refuse_for_picture(typed)
            _picture(terminal, source, output, options, request, cluster)
        else:
            _video(terminal, source, output, options, request, job, schedule, cluster)


def _picture(
    terminal: Terminal,
    source: Path,
    output: Destination | None,
    options: UpscaleOptions,
    request: Request,
    cluster: ClusterOptions,
) -> None:
    from vidx4.jobs.cluster.model_loader import check_memory, loader
    from vidx4.jobs.still.read import stored_size
    from vidx4.jobs.still.upscale import plan_picture, upscale_picture

    written = plan_picture(source, output, overwrite=request.overwrite)
    check_memory(cluster, options, *stored_size(source))
    with loader(cluster, options.device) as models:
        report = upscale_picture(source, written, models.load(options), overwrite=request.overwrite)
    show_picture(terminal, report)


def _video(
    terminal: Terminal,
    source: Path,
    output: Destination | None,
    options: UpscaleOptions,
    request: Request,
    job: JobOptions,
    schedule: ScheduleOptions,
    cluster: ClusterOptions,
) -> None:
    from vidx4.jobs.choice import chosen_for_job
    from vidx4.jobs.cluster.model_loader import check_memory, loader
    from vidx4.jobs.plan import plan_video
    from vidx4.jobs.report import check_report

    plan = plan_video(source, output, request, lambda *size: check_memory(cluster, options, *size))
    if job.report is not None:
        check_report(job.report, source, plan.output, overwrite=request.overwrite)
    show_plan(terminal, plan)
    with loader(cluster, options.device) as models:
        chosen = chosen_for_job(options, plan, models, schedule.seconds(), restart=job.restart)
        _run(plan, models.load(chosen), job, schedule, terminal)


def _refuse_for_picture(typed: Mapping[str, Any]) -> None:
    """Refuse options that have no effect on a still picture."""
    others = {**options_of(Request), **options_of(JobOptions), **options_of(ScheduleOptions)}
    del others["overwrite"], others["notify"]
    useless = [f"--{flag}" for flag in typed if flag in others and typed[flag] != others[flag].default]
    if useless:
        raise OptionError(f"A still picture has one frame, no codec and no parts: omit {', '.join(useless)}.")


def _run(
    plan: "Plan",
    backend: "Backend",
    job_options: JobOptions,
    schedule: ScheduleOptions,
    terminal: Terminal,
) -> None:
    from vidx4.jobs.alternatives import Prospects
    from vidx4.jobs.estimate import check_disk
    from vidx4.jobs.report import IS_DRY_RUN, write_report
    from vidx4.jobs.run import start

    job = backend.job(plan, job_options.batch_size)
    prospects = Prospects(job, backend)
    with (
        terminal.working(plan.source.path.name, schedule) as control,
        start(
            job,
            control,
            restart=job_options.restart,
            is_trial=job_options.dry_run,
            accept_loss=job_options.accept_loss,
        ) as run,
    ):
        estimate = run.estimate()
        estimate = replace(estimate, alternatives=prospects.alternatives(estimate))
        show_estimate(terminal, estimate, job)
        if not job_options.ignore_disk_space:
            check_disk(plan, estimate)
        if job_options.dry_run:
            if job_options.report is not None:
                facts = {IS_DRY_RUN: True, **plan.facts(), **estimate.facts(job)}
                write_report(job_options.report, facts)
            show_trial(terminal, plan)
            return
        report = run.finish()
    if job_options.report is not None:
        write_report(job_options.report, report.facts())
    show_report(terminal, report)
