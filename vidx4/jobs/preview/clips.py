"""What one setting makes of the moments that are shown: a video, stills, and what it costs."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vidx4.diffusion.bicubic import enlarge_frames
from vidx4.diffusion.upscaler import Upscaler
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


@dataclass(frozen=True)
class Still:
    """A frame before and after."""

    before: FrameBatch
    """(1, 3, H, W)."""
    after: FrameBatch
    """(1, 3, 4H, 4W)."""


@dataclass(frozen=True)
class Take:
    """What a setting made."""

    stills: tuple[Still, ...]
    seconds_per_frame: float
    """If no frame repeats the one before it."""


@dataclass(frozen=True)
class Scenes:
    """What is shown of a film, and how."""

    source: Source
    spans: tuple[TimeRange, ...]
    stills: tuple[int, ...]
    """The frame of each span that stands for it in pictures, by its index in the source."""
    layout: Layout
    encode: EncodeOptions


class Watch:
    """Adds up the progress of what is made one after another.

    Args:
        control: hears of it.
        num_frames: of all together.
    """

    def __init__(self, control: Control, num_frames: int) -> None:
        self._control = control
        self._num_frames = num_frames
        self._num_before = 0

    def run(self, job: Job) -> Report:
        """Carry out a job that nobody goes on with."""
        control = Control(self._on_progress, stop=self._control.stop)
        report = run(job, control, restart=True, ignore_disk_space=True, accept_loss=True)
        self._num_before += job.plan.num_frames
        return report

    def _on_progress(self, progress: Progress) -> None:
        num_done = self._num_before + progress.num_done
        self._control.on_progress(replace(progress, num_done=num_done, num_frames=self._num_frames))


def make_take(scenes: Scenes, video: Path, upscaler: Upscaler, batch_size: int | None, watch: Watch) -> Take:
    """Enlarge the scenes with a setting, and write them into one video with before and after and the sound.

    Raises:
        StoppedError: the control of the watch said so.
    """
    upscaler = upscaler.fitted(scenes.source.width, scenes.source.height, batch_size=batch_size)
    speed = _Speed()
    composers = [_Composer(scenes, upscaler, index, speed) for index in scenes.stills]
    size = batch_size or upscaler.fit.batch_size
    video.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".vidx4-", dir=video.parent) as folder:
        pieces = [Path(folder) / f"{i}{video.suffix}" for i in range(len(composers))]
        plans = [_plan(scenes, piece, span) for span, piece in zip(scenes.spans, pieces, strict=True)]
        reports = [
            watch.run(Job(plan, LocalExecutor(composer), size))
            for plan, composer in zip(plans, composers, strict=True)
        ]
        concatenate(pieces, video, plans[0].written.target)
    stills = tuple(composer.still for composer in composers if composer.still is not None)
    return Take(stills, max(speed.seconds_per_frame, _encoding(reports)))


def _plan(scenes: Scenes, piece: Path, span: TimeRange) -> Plan:
    plan = plan_source(scenes.source, piece, Request(span=span, encode=scenes.encode))
    target = plan.written.target.side_by_side(2 if scenes.layout == Layout.SIDE else 1)
    return replace(plan, written=replace(plan.written, target=target))


def _encoding(reports: Sequence[Report]) -> float:
    """Return the seconds per frame of the encoder, which works beside the model."""
    return sum(report.stages.encode for report in reports) / sum(report.num_new for report in reports)


class _Speed:
    """Measures the model alone, but for its first batch, in which everything warms up."""

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
    """Enlarges frames in both ways and puts them together; keeps one of them."""

    def __init__(self, scenes: Scenes, upscaler: Upscaler, still: int, speed: _Speed) -> None:
        self._layout = scenes.layout
        self._ticks = float(1 / scenes.source.time_base)
        self._still_pts = scenes.source.pts[still]
        self._upscaler = upscaler
        self._speed = speed
        self.still: Still | None = None
        """The first frame from the wanted one on, or the last before it."""

    def __call__(self, batch: FrameBatch, state: ShotState | None) -> Upscaled:
        start = time.monotonic()
        upscaled = self._upscaler(batch, state)
        self._speed.add(time.monotonic() - start, len(batch) - upscaled.num_reused)
        self._keep(batch, upscaled.batch)
        return replace(
            upscaled, batch=compose(self._layout, enlarge_frames(batch), upscaled.batch, self._ticks)
        )

    def _keep(self, before: FrameBatch, after: FrameBatch) -> None:
        for i in range(len(before)):
            if self.still is None or self.still.before.pts[0] < self._still_pts:
                self.still = Still(_one(before, i), _one(after, i))


def _one(batch: FrameBatch, index: int) -> FrameBatch:
    return FrameBatch(batch.data[index : index + 1].clone(), batch.pts[index : index + 1])
