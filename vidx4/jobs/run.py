"""One video, from source to finished file: the missing parts are made, then all are joined."""

import filecmp
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from vidx4.diffusion.options import UpscaleOptions
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import DiskFullError, SourceError
from vidx4.jobs.estimate import Estimate, check_disk, disk_needed, estimate
from vidx4.jobs.job import Job
from vidx4.jobs.local import local_job
from vidx4.jobs.meter import Meter
from vidx4.jobs.plan import Plan, plan_video
from vidx4.jobs.progress import Control, Monitor, Progress, peak_memory
from vidx4.jobs.report import Report
from vidx4.jobs.request import Request
from vidx4.jobs.work_folder import WorkFolder, work_folder
from vidx4.media.atomic import check_writable
from vidx4.media.mux import join


class Run:
    """A job at work in its folder.

    Args:
        job: what is to be done.
        folder: what is done of it.
        control: hears of what is done from here on, and stops it.
    """

    def __init__(self, job: Job, folder: WorkFolder, control: Control) -> None:
        self._plan = job.plan
        self._folder = folder
        self._meter = Meter(job.plan, folder, control)
        self._monitor = Monitor(control, self._meter.add)
        self._executor = job.executor
        self._parts = job.executor.make(job, folder, self._monitor)

    def estimate(self) -> Estimate:
        """Tell what the job will take; where nothing is done yet, the first part is made to measure it.

        Raises:
            StoppedError: the control said so.
        """
        if not self._folder.parts:
            next(self._parts, None)
        return estimate(self._plan, self._folder, self._meter, self._executor)

    def finish(self, *, accept_loss: bool = False) -> Report:
        """Make all parts that are missing and join them; the folder is emptied.

        Args:
            accept_loss: whether to write the output even if verification finds something lost.

        Raises:
            StoppedError: the control said so; parts are kept.
            OutputError: the output can't be written.
            SourceError: something can't be decoded, and the plan is strict.
        """
        for _ in self._parts:
            pass
        self._check_strictly()
        with self._monitor.seconds.timed("join"):
            missing = self._join(may_lose=accept_loss)
        report = self._report(missing)
        self._folder.clear()
        return report

    def _check_strictly(self) -> None:
        num_missing = self._plan.num_frames - sum(part.num_frames for part in self._folder.parts.values())
        damage = self._monitor.damage
        found = " ".join(damage.sentences()) or f"{num_missing} frames are missing."
        if self._plan.request.strict and (damage or num_missing):
            raise SourceError(f"{self._plan.source.path} is damaged: {found}")

    def _join(self, *, may_lose: bool) -> tuple[int, ...]:
        plan, folder = self._plan, self._folder
        parts = [folder.part_path(start) for start in sorted(folder.parts)]
        overwrite = plan.request.overwrite
        if overwrite or not plan.output.exists():
            return join(parts, plan.written, overwrite=overwrite, may_lose=may_lose)
        # A run may have ended after it wrote the output: then these parts make the same.
        twin = folder.twin_path(plan.output)
        missing = join(parts, replace(plan.written, path=twin), overwrite=True, may_lose=may_lose)
        if not filecmp.cmp(twin, plan.output, shallow=False):
            check_writable(plan.output, plan.source.path, overwrite=False)
        return missing

    def _report(self, missing: tuple[int, ...]) -> Report:
        parts, meter, monitor = self._folder.parts.values(), self._meter, self._monitor
        return Report(
            output=self._plan.output,
            num_frames=sum(part.num_frames for part in parts),
            num_new=meter.num_new,
            num_parts=len(parts),
            seconds=meter.seconds,
            seconds_per_frame=meter.seconds_per_frame(without_reuse=True),
            share_reused=meter.num_reused / max(meter.num_new, 1),
            num_shots=sum(part.starts_shot for part in parts),
            stages=monitor.seconds,
            peak_memory=peak_memory(),
            workers=monitor.shares,
            warnings=self._plan.warnings,
            damage=(*monitor.damage.sentences(), *_missing(self._plan, missing)),
        )

    def close(self) -> None:
        """End its threads."""
        self._parts.close()


@contextmanager
def start(
    job: Job, control: Control | None = None, *, restart: bool = False, is_trial: bool = False
) -> Iterator[Run]:
    """Give a job that can be worked at; what an earlier run left of it is there already.

    An error tells in a note what is kept.

    Args:
        job: what is to be done.
        control: hears of it and stops it.
        restart: whether to begin anew.
        is_trial: whether this only estimates, so that what it makes gives way to any other job.

    Raises:
        OutputError: another process is at work for the same output, or the output exists.
        OptionError: what is there is of another job.
    """
    plan = job.plan
    with work_folder(plan.work_folder, job.identity, restart=restart, is_trial=is_trial) as folder:
        if folder.num_done < plan.num_frames:
            check_writable(plan.output, plan.source.path, plan.request.overwrite)
        work = Run(job, folder, control or Control())
        try:
            yield work
        except BaseException as error:
            _note_how_it_goes_on(error, plan, folder)
            raise
        finally:
            work.close()


def _note_how_it_goes_on(error: BaseException, plan: Plan, folder: WorkFolder) -> None:
    if folder.parts:
        if isinstance(error, DiskFullError):
            error.add_note(f"About {disk_needed(plan, folder) / 1e6:.3g} MB are needed.")
        error.add_note(
            f"{folder.num_done} of {plan.num_frames} frames are kept in {folder.path} "
            f"({folder.size / 1e6:.1f} MB): the same command goes on."
        )


def run(
    job: Job,
    control: Control | None = None,
    *,
    restart: bool = False,
    ignore_disk_space: bool = False,
    accept_loss: bool = False,
) -> Report:
    """Carry out a job from wherever it is; arguments and errors are those of `start` and `Run.finish`.

    Raises:
        DiskFullError: the job would not fit the disk, and `ignore_disk_space` is not set.
    """
    with start(job, control, restart=restart) as work:
        if not ignore_disk_space:
            check_disk(job.plan, work.estimate())
        return work.finish(accept_loss=accept_loss)


def upscale_video(
    path: str | Path,
    output: str | Path | None = None,
    *,
    upscaler: Upscaler | None = None,
    options: UpscaleOptions = UpscaleOptions(),
    request: Request = Request(),
    batch_size: int | None = None,
    restart: bool = False,
    ignore_disk_space: bool = False,
    accept_loss: bool = False,
    on_progress: Callable[[Progress], Any] | None = None,
) -> Report:
    """Make a video four times larger, with its own sound and timing; goes on where an earlier call ended.

    Args:
        path: the video.
        output: where the result goes; `<stem>_x4` beside the source where None.
        upscaler: a loaded model; loaded from `options` where None.
        options: the model and how it denoises; without effect where `upscaler` is given.
        request: what is wanted of the video beside its picture: codec, streams, the part of it ...
        batch_size: frames that are computed together; chosen by their size where None.
        restart: whether to begin anew where an earlier call has left parts.
        ignore_disk_space: whether to start even if the disk looks too small.
        accept_loss: whether to write the output even if verification finds something lost.
        on_progress: called after every batch.

    Raises:
        Vidx4Error: what the user can mend; nothing is left at `output` then, but whole parts are kept.
    """
    plan = plan_video(Path(path), Path(output) if output else None, request)
    job = local_job(plan, upscaler or Upscaler.from_options(options), batch_size)
    return run(
        job,
        Control(on_progress) if on_progress else None,
        restart=restart,
        ignore_disk_space=ignore_disk_space,
        accept_loss=accept_loss,
    )


def _missing(plan: Plan, missing: tuple[int, ...]) -> tuple[str, ...]:
    if not missing:
        return ()
    first = float(plan.source.seconds_of(missing[0]))
    return (f"{len(missing)} of {plan.num_frames} frames are missing, the first at {first:.2f} s.",)
