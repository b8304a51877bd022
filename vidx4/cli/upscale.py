"""`vidx4 upscale`: one video or still picture."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vidx4.cli.options import OUTPUT, ClusterOptions, JobOptions, OutputOptions, all_options, given
from vidx4.cli.program import command
from vidx4.cli.terminal import Terminal
from vidx4.cli.video_view import show_estimate, show_plan, show_report
from vidx4.diffusion.options import UpscaleOptions
from vidx4.errors import OptionError
from vidx4.jobs.request import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from vidx4.jobs.job import Backend
    from vidx4.jobs.plan import Plan


Input = Annotated[
    Path,
    typer.Argument(metavar="INPUT", help="A video, a still picture or a folder of numbered pictures."),
]
Output = Annotated[
    Path | None,
    typer.Argument(metavar="OUTPUT", parser=OUTPUT.parse, help="Default: <stem>_x4 beside the input."),
]


@command
def upscale(
    context: typer.Context,
    terminal: Terminal,
    source: Input,
    options: UpscaleOptions,
    request: Request,
    destination: OutputOptions,
    job: JobOptions,
    cluster: ClusterOptions,
    output: Output = None,
) -> None:
    """Make a video or a still picture four times larger; run it again to resume.

    If OUTPUT is a folder or a pattern such as frames/%06d.png, numbered pictures are written.
    """
    from vidx4.jobs.plan import plan_video
    from vidx4.jobs.still.read import is_picture

    output = destination.or_positional(output)
    if is_picture(source):
        _refuse_for_picture(context)
        _upscale_picture(source, output, options, request, cluster, terminal)
        return
    plan = plan_video(source, output, request)
    show_plan(terminal, plan)
    with loader(cluster, options.device) as load:
        _run(plan, load(options), job, terminal)


def _refuse_for_picture(context: typer.Context) -> None:
    """Refuse options that change nothing about a still picture."""
    known = all_options(Request, JobOptions)
    typed = given(context, Request, JobOptions)
    useless = [f for f, value in typed.items() if f != "overwrite" and value != known[f].default]
    if useless:
        flags = ", ".join(f"--{flag}" for flag in useless)
        raise OptionError(f"A still picture has one frame, no codec and no parts: leave out {flags}.")


def _upscale_picture(
    source: Path,
    output: Path | None,
    options: UpscaleOptions,
    request: Request,
    cluster: ClusterOptions,
    terminal: Terminal,
) -> None:
    from vidx4.jobs.still.upscale import plan_picture, upscale_picture

    written = plan_picture(source, output, overwrite=request.overwrite)
    with loader(cluster, options.device) as load:
        upscale_picture(source, written, load(options))
    terminal.done(written)


@contextmanager
def loader(cluster: ClusterOptions, device: str) -> "Iterator[Callable[[UpscaleOptions], Backend]]":
    """Give a function that loads models: into this process, or on a cluster that is left after the block."""
    if cluster.cluster is None:
        from vidx4.jobs.local import load_here

        yield load_here
        return
    if find_spec("ray") is None:
        raise OptionError("A cluster needs Ray, which is not installed: pip install 'vidx4[cluster]'.")
    from vidx4.jobs.cluster.actors import connect

    with connect(cluster.cluster, cluster.workers, device, sends_model=cluster.send_model) as load:
        yield load


def _run(plan: "Plan", backend: "Backend", job_options: JobOptions, terminal: Terminal) -> None:
    from vidx4.jobs.estimate import check_disk
    from vidx4.jobs.report import write_report
    from vidx4.jobs.run import start
    from vidx4.media.atomic import check_writable

    if job_options.report is not None:
        check_writable(job_options.report, plan.source.path, plan.request.overwrite)
    job = backend.job(plan, job_options.batch_size)
    with (
        terminal.working(plan.source.path.name) as control,
        start(job, control, restart=job_options.restart, is_trial=job_options.dry_run) as run,
    ):
        estimate = run.estimate()
        show_estimate(terminal, estimate, job)
        if not job_options.ignore_disk_space:
            check_disk(plan, estimate)
        if job_options.dry_run:
            terminal.tell(f"The frames measured here are kept in {plan.work_folder} for the run itself.")
            return
        report = run.finish(accept_loss=job_options.accept_loss)
    if job_options.report is not None:
        write_report(job_options.report, report.facts())
    show_report(terminal, report)
