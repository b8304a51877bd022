"""One video, from source to finished file: missing parts are made, then all parts are joined."""

import filecmp
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from vidx4.diffusion.options import UpscaleOptions
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import DiskFullError, LossError, NotFiniteError, SourceChangedError, StoppedError
from vidx4.files.remains import remove_remains
from vidx4.jobs.choice import chosen_for_job
from vidx4.jobs.destination import Destination
from vidx4.jobs.estimate import Estimate, check_disk, disk_needed, estimate
from vidx4.jobs.job import Job
from vidx4.jobs.local import LOCAL, LocalBackend
from vidx4.jobs.meter import Meter
from vidx4.jobs.part_record import Part
from vidx4.jobs.plan import Plan, plan_video
from vidx4.jobs.progress import Control, Monitor, Progress, peak_memory
from vidx4.jobs.report import Report, faster_codec
from vidx4.jobs.request import Request
from vidx4.jobs.storage import FAILURES, Storage
from vidx4.jobs.work_folder import WorkFolder, work_folder
from vidx4.media.checks import require_kept
from vidx4.media.damage import Damage, too_damaged
from vidx4.media.mux import join
from vidx4.media.place import check_writable
from vidx4.syntax import format_disk, plural


class Run:
    """A run of a job in its work folder.

    Args:
        job: the job.
        folder: the parts that earlier runs have finished.
        control: notified of progress; can stop the run.
        accept_loss: whether to write the output even if verification finds something lost.
    """

    def __init__(self, job: Job, folder: WorkFolder, control: Control, *, accept_loss: bool = False) -> None:
        self._accept_loss = accept_loss
        self._job, self._plan = job, job.plan
        self._folder = folder
        self._meter = Meter(job.plan, folder, control)
        self._storage = Storage(job.plan, job.identity.get("source"), control)
        self._storage.check_source()
        self._monitor = Monitor(control, self._meter.add, Damage(doubt=self._storage.doubt))
        self._executor = job.executor
        self._parts = self._made()

    def _made(self) -> Generator[Part]:
        """Make the parts that the folder lacks; while the source or the folder is away, wait for it."""
        damage = self._monitor.damage
        before = damage.copy()
        while True:
            try:
                with closing(self._executor.make(self._job, self._folder, self._monitor)) as parts:
                    for part in parts:
                        self._storage.report_success()
                        before = damage.copy()
                        yield part
            except FAILURES as error:
                self._storage.wait_after(error)
                damage.restore(before)
            else:
                self._storage.wait()
                if not self._folder.forget_lost_parts():
                    return

    def estimate(self) -> Estimate:
        """Estimate what the job will take; if there is no part yet, the first is made to measure it.

        Raises:
            StoppedError: the control was told to stop.
        """
        if not self._folder.parts:
            next(self._parts, None)
        return estimate(self._plan, self._folder, self._meter, self._executor)

    def finish(self) -> Report:
        """Make all missing parts, join them, and empty the folder.

        Raises:
            StoppedError: the control was told to stop; finished parts are kept.
            OutputError: the output can't be written.
            SourceError: something can't be decoded, and the plan is strict.
            SourceChangedError: the source is not what it was when the job was planned.
        """
        for _ in self._parts:
            pass
        if self._plan.request.strict:
            self._raise_if_damaged()
        with self._monitor.seconds.timed("join"):
            missing = self._joined()
        report = self._report(missing)
        self._folder.clear()
        return report

    def _raise_if_damaged(self) -> None:
        num_missing = self._plan.num_frames - sum(part.num_frames for part in self._folder.parts.values())
        damage = self._monitor.damage
        if damage or num_missing:
            found = " ".join(damage.sentences()) or f"{plural(num_missing, 'frame')} can't be decoded."
            raise too_damaged(self._plan.source.path, found)

    def _joined(self) -> tuple[int, ...]:
        while True:
            try:
                self._storage.check_source()
                return self._join()
            except FAILURES as error:
                self._storage.wait_after(error)

    def _join(self) -> tuple[int, ...]:
        plan, folder, accept_loss = self._plan, self._folder, self._accept_loss
        written = plan.rehearsal.output
        parts = [folder.part_path(start) for start in sorted(folder.parts)]
        overwrite = plan.request.overwrite
        joined = partial(join, parts, accept_loss=accept_loss, check=self._storage.check_source)
        if overwrite or not plan.output.exists():
            return joined(written, overwrite=overwrite)
        # If an earlier run was killed after it wrote the output, joining its parts gives the same file again.
        twin = folder.twin_path(plan.output)
        missing = joined(replace(written, path=twin), overwrite=True)
        if not filecmp.cmp(twin, plan.output, shallow=False):
            check_writable(plan.output, plan.source.path, overwrite=False)
        remove_remains(plan.output)  # it may have been killed before its last step
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
            noise_level=self._job.noise_level,
            estimated_noise_level=self._job.estimated_noise_level,
            stages=monitor.seconds,
            peak_memory=peak_memory(),
            workers=monitor.worker_stats,
            warnings=self._plan.warnings,
            damage=(*monitor.damage.sentences(), *_missing(self._plan, missing)),
            settings=self._job.identity,
            faster_codec=None if monitor.worker_stats else faster_codec(self._plan, monitor.seconds),
        )

    def close(self) -> None:
        """Stop the run's threads."""
        self._parts.close()


@contextmanager
def start(
    job: Job,
    control: Control | None = None,
    *,
    restart: bool = False,
    is_trial: bool = False,
    accept_loss: bool = False,
) -> Iterator[Run]:
    """Start a run of a job, or resume the job from the parts that an earlier run has left.

    A note on any error says what is kept.

    Args:
        job: the job.
        control: notified of progress; can stop the run.
        restart: whether to discard existing parts and start from scratch.
        is_trial: whether this is only an estimate, whose parts are discarded if another job needs the folder.
        accept_loss: whether to write the output even if verification finds something lost.

    Raises:
        OutputError: the rehearsal has shown that something would be lost, another process is writing the same
            output, or the output exists.
        OptionError: the work folder holds parts of another job.
    """
    plan = job.plan
    require_kept(plan.rehearsal.lost, plan.output, accept_loss=accept_loss)
    with work_folder(plan, job.identity, job.state_spec, restart=restart, is_trial=is_trial) as folder:
        if folder.num_done < plan.num_frames:
            check_writable(plan.output, plan.source.path, plan.request.overwrite)
        work = Run(job, folder, control or Control(), accept_loss=accept_loss)
        try:
            yield work
        except BaseException as error:
            _add_notes(error, plan, folder)
            raise
        finally:
            work.close()


def _add_notes(error: BaseException, plan: Plan, folder: WorkFolder) -> None:
    """Say on an error what is kept, and how to resume."""
    if isinstance(error, NotFiniteError):
        error.add_note(f"It is the frame at {float(plan.source.seconds_of(error.pts)):.2f} s.")
    if not folder.parts and isinstance(error, StoppedError):
        error.add_note("No part was finished: the same command begins again.")
    elif folder.parts and isinstance(error, StoppedError) and not folder.path.is_dir():
        error.add_note(f"{folder.path} can't be reached now: once it is back, the same command resumes.")
    elif folder.parts and folder.path.is_dir() and not isinstance(error, SourceChangedError):
        if isinstance(error, DiskFullError):
            error.add_note(f"The job needs about {format_disk(disk_needed(plan, folder))} more.")
        how = "the same command with --accept-loss" if isinstance(error, LossError) else "the same command"
        error.add_note(
            f"{folder.num_done} of {plan.num_frames} frames are kept in {folder.path} "
            f"({format_disk(folder.size)}): {how} resumes."
        )


def run(
    job: Job,
    control: Control | None = None,
    *,
    restart: bool = False,
    ignore_disk_space: bool = False,
    accept_loss: bool = False,
) -> Report:
    """Finish a job, resuming it if an earlier run has left parts; see `start` and `Run.finish`.

    Raises:
        DiskFullError: the job would not fit the disk, and `ignore_disk_space` is not set.
    """
    with start(job, control, restart=restart, accept_loss=accept_loss) as work:
        if not ignore_disk_space:
            check_disk(job.plan, work.estimate())
        return work.finish()


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
    """Make a video four times larger, with its original audio and timing; resumes an interrupted call.

    Args:
        path: the video.
        output: path of the result, or a folder for it: one that exists, or a text that ends with a slash;
            `<stem>_x4` beside the source if None.
        upscaler: a loaded model; loaded from `options` if None.
        options: the model and how it denoises; ignored if `upscaler` is given.
        request: everything else that is wanted of the video: range, codec, streams ...
        batch_size: frames that are computed together; chosen by the frame size if None.
        restart: whether to discard the parts of an interrupted call and start from scratch.
        ignore_disk_space: whether to start even if the disk looks too small.
        accept_loss: whether to write the output even if verification finds something lost.
        on_progress: called after every batch.

    Raises:
        Vidx4Error: something that the user can fix; nothing is left at `output`, finished parts are kept.
    """
    plan = plan_video(Path(path), Destination.of(output), request)
    if upscaler is None:
        backend = LOCAL.load(chosen_for_job(options, plan, LOCAL, restart=restart))
    else:
        backend = LocalBackend(upscaler)
    return run(
        backend.job(plan, batch_size),
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
