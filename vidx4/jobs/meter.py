"""Measures a job while it runs."""

import time

from vidx4.jobs.folder import WorkFolder
from vidx4.jobs.pipeline import Enlarged
from vidx4.jobs.plan import Plan
from vidx4.jobs.progress import Control, Progress, used_memory


class Meter:
    """Counts the frames that pass, and tells how fast they do.

    Args:
        plan: what is done.
        folder: what is whole of it.
        control: hears of the progress.
    """

    def __init__(self, plan: Plan, folder: WorkFolder, control: Control) -> None:
        self._plan = plan
        self._folder = folder
        self._control = control
        self._start = time.monotonic()
        self._warm: tuple[float, int, float] | None = None
        self._num_shots = 0
        self._shot_pts = plan.source.pts[plan.frames.start]
        self.num_new = 0
        self.num_reused = 0.0

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._start

    def add(self, enlarged: Enlarged, stop: int) -> None:
        """Count frames that are encoded, up to the frame `stop` of the source."""
        shot_batch, upscaled = enlarged
        if shot_batch.starts_shot or self.num_new == 0:
            self._num_shots += 1
            self._shot_pts = shot_batch.batch.pts[0]
        self.num_new += len(shot_batch.batch)
        self.num_reused += upscaled.num_reused
        self._warm = self._warm or (self.seconds, self.num_new, self.num_reused)
        self._control.on_progress(self._progress(stop))

    def _progress(self, stop: int) -> Progress:
        source = self._plan.source
        return Progress(
            num_done=self._num_done(stop),
            num_frames=self._plan.num_frames,
            num_new=self.num_new,
            seconds=self.seconds,
            seconds_per_frame=self.seconds_per_frame(),
            num_reused=self.num_reused,
            num_shots=self._num_shots,
            shot_seconds=float((self._shot_pts - source.pts[0]) * source.time_base),
            memory=used_memory(),
        )

    def _num_done(self, stop: int) -> int:
        """Count what is whole and the frames of the part at work, unless they are made for a second time."""
        start = max((part.stop for part in self._folder.parts.values() if part.stop < stop), default=None)
        start = self._plan.frames.start if start is None else start
        is_again = start in self._folder.parts
        return self._folder.num_done + (0 if is_again else stop - start)

    def seconds_per_frame(self, *, without_reuse: bool = False) -> float:
        """Return what a frame takes, once everything has warmed up in the first batch of all.

        Args:
            without_reuse: whether frames whose results were there already don't count.
        """
        seconds, num_frames, num_reused = self._warm or (0.0, 0, 0.0)
        since, frames = self.seconds - seconds, float(self.num_new - num_frames)
        if without_reuse:
            frames -= self.num_reused - num_reused
        if frames < 1:
            since, frames = self.seconds, self.num_new
        return since / max(frames, 1)
