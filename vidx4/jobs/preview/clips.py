"""The clip that one setting makes of the moments shown, frames before and after, and the time it took."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vidx4.diffusion.bicubic import enlarge_frames
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import OutputError, Vidx4Error
from vidx4.frames import FrameBatch
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalExecutor
from vidx4.jobs.plan import Plan, plan_source
from vidx4.jobs.preview.layout import compose
from vidx4.jobs.preview.options import Layout
from vidx4.jobs.progress import Control, Progress
from vidx4.jobs.report import Report
from vidx4.jobs.request import Request
from vidx4.jobs.run import run
from vidx4.media.concat import concatenate
from vidx4.media.options import EncodeOptions
from vidx4.temporal.state import ShotState, Upscaled
from vidx4.video import Source, TimeRange
from vidx4.working_time import working_seconds


@dataclass(frozen=True)
class FramePair:
    """One frame before and after."""

    before: FrameBatch
    """(1, 3, H, W)."""
    after: FrameBatch
    """(1, 3, 4H, 4W)."""


@dataclass(frozen=True)
class Clip:
    """What one setting made of the moments shown; the video itself is a file."""

    pairs: tuple[FramePair, ...]
    """The frame of each moment."""
    seconds_per_frame: float
    """Seconds for a frame that doesn't repeat the one before it."""
    memory: int
    """Bytes that the model and its frames are planned to take on the device."""


@dataclass(frozen=True)
class Scenes:
    """The parts of a film that are shown, and how."""

    source: Source
    spans: tuple[TimeRange, ...]
    moments: tuple[int, ...]
    """Index in the source of the frame that stands for each span in pictures."""
    layout: Layout
    encode: EncodeOptions


class JobSeries:
    """Runs jobs one after another and reports their progress as that of one.

    Args:
        control: receives the progress, and stops the series.
        num_frames: the number of frames of all jobs together.
    """

    def __init__(self, control: Control, num_frames: int) -> None:
        self._control = control
        self._num_frames = num_frames
        self._num_before = 0

    def run(self, job: Job) -> Report:
        """Run a job from scratch; it is not meant to be resumed."""
        control = Control(self._on_progress, stop=self._control.stop)
        try:
            report = run(job, control, restart=True, ignore_disk_space=True, accept_loss=True)
        except Vidx4Error as error:
            error.__notes__ = []  # they tell how to resume the job, whose folder is about to be removed
            raise
        self._num_before += job.plan.num_frames
        return report

    def _on_progress(self, progress: Progress) -> None:
        num_done = self._num_before + progress.num_done
        self._control.on_progress(replace(progress, num_done=num_done, num_frames=self._num_frames))


def make_clip(
    scenes: Scenes,
    video: Path,
    upscaler: Upscaler,
    batch_size: int | None,
    series: JobSeries,
    *,
    overwrite: bool,
) -> Clip:
    """Upscale the scenes with one setting, and write them to one video with before, after and the sound.

    Raises:
        StoppedError: the control of the series stopped it.
    """
    upscaler = upscaler.fitted(scenes.source.width, scenes.source.height, batch_size=batch_size)
    stopwatch = _Stopwatch()
    composers = [_Composer(scenes, upscaler, index, stopwatch) for index in scenes.moments]
    size = batch_size or upscaler.fit.batch_size
    video.parent.mkdir(parents=True, exist_ok=True)
    with _temporary_folder(video.parent) as folder:
        pieces = [Path(folder) / f"{i}{video.suffix}" for i in range(len(composers))]
        plans = [_plan(scenes, piece, span) for span, piece in zip(scenes.spans, pieces, strict=True)]
        reports = [
            series.run(Job(plan, LocalExecutor(composer), size))
            for plan, composer in zip(plans, composers, strict=True)
        ]
        concatenate([plan.written for plan in plans], video, overwrite=overwrite)
    pairs = tuple(composer.pair for composer in composers if composer.pair is not None)
    # The encoder works beside the model: the slower of the two decides.
    seconds = max(stopwatch.seconds_per_frame, _encoder_seconds(reports))
    return Clip(pairs, seconds, upscaler.planned_memory(scenes.source.width, scenes.source.height))


def _temporary_folder(parent: Path) -> "tempfile.TemporaryDirectory[str]":
    try:
        return tempfile.TemporaryDirectory(prefix=".vidx4-", dir=parent, ignore_cleanup_errors=True)
    except OSError as error:
        raise OutputError(f"Nothing can be written to {parent}: {error.strerror}.") from error


def _plan(scenes: Scenes, piece: Path, span: TimeRange) -> Plan:
    plan = plan_source(scenes.source, piece, Request(span=span, encode=scenes.encode))
    target = plan.written.target.side_by_side(2 if scenes.layout == Layout.SIDE else 1)
    return replace(plan, written=replace(plan.written, target=target))


def _encoder_seconds(reports: Sequence[Report]) -> float:
    """Return the encoder's seconds per frame."""
    return sum(report.stages.encode for report in reports) / sum(report.num_new for report in reports)


class _Stopwatch:
    """Measures the model alone, without its first batch, in which everything warms up."""

    def __init__(self) -> None:
        self._batches: list[tuple[float, float]] = []

    def add(self, seconds: float, num_computed: float) -> None:
        self._batches.append((seconds, num_computed))

    @property
    def seconds_per_frame(self) -> float:
        batches = self._batches[1:] or self._batches
        num_computed = sum(computed for _, computed in batches)
        return sum(seconds for seconds, _ in batches) / max(num_computed, 1.0)


class _Composer:
    """Enlarges frames both ways and puts them together; keeps one pair."""

    def __init__(self, scenes: Scenes, upscaler: Upscaler, moment: int, stopwatch: _Stopwatch) -> None:
        self._layout = scenes.layout
        self._ticks = float(1 / scenes.source.time_base)
        self._moment_pts = scenes.source.pts[moment]
        self._upscaler = upscaler
        self._stopwatch = stopwatch
        self.pair: FramePair | None = None
        """The first frame at or after the moment, or the last one before it."""

    def __call__(self, batch: FrameBatch, state: ShotState | None) -> Upscaled:
        start = working_seconds()
        upscaled = self._upscaler(batch, state)
        self._stopwatch.add(working_seconds() - start, len(batch) - upscaled.num_reused)
        self._keep(batch, upscaled.batch)
        return replace(
            upscaled, batch=compose(self._layout, enlarge_frames(batch), upscaled.batch, self._ticks)
        )

    def _keep(self, before: FrameBatch, after: FrameBatch) -> None:
        for i in range(len(before)):
            if self.pair is None or self.pair.before.pts[0] < self._moment_pts:
                self.pair = FramePair(_one(before, i), _one(after, i))


def _one(batch: FrameBatch, index: int) -> FrameBatch:
    return FrameBatch(batch.data[index : index + 1].clone(), batch.pts[index : index + 1])
