"""Measures a job while it runs."""

import time

from vidx4.jobs.plan import Plan
from vidx4.jobs.progress import Advance, Control, Progress
from vidx4.jobs.work_folder import WorkFolder


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
        self._at_work: dict[int, Advance] = {}
        """The parts at work, by their start."""
        self.num_new = 0
        self.num_reused = 0.0
        self.num_parts = 0
        """That were begun."""
        self.peak_memory = 0
        """Of the processes that enlarge frames, as far as they have told."""

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._start

    def add(self, advance: Advance) -> None:
        """Count frames that are encoded."""
        before = self._at_work.get(advance.start)
        if before is None and (advance.starts_shot or self.num_new == 0):
            self._num_shots += 1
            self._shot_pts = advance.pts
        self.num_parts += before is None
        # A part at which a worker was lost is begun anew.
        self.num_new += advance.num_frames - (before.num_frames if before else 0)
        self.num_reused += advance.num_reused - (before.num_reused if before else 0.0)
        self._warm = self._warm or (self.seconds, self.num_new, self.num_reused)
        self._at_work = {start: each for start, each in self._at_work.items() if not self._is_whole(each)}
        self._at_work[advance.start] = advance
        self.peak_memory = max(self.peak_memory, advance.memory)
        self._control.on_progress(self._progress(advance.memory))

    def _is_whole(self, advance: Advance) -> bool:
        part = self._folder.parts.get(advance.start)
        return part is not None and part.stop == advance.stop

    def _progress(self, memory: int) -> Progress:
        return Progress(
            num_done=self._num_done(),
            num_frames=self._plan.num_frames,
            num_new=self.num_new,
            seconds=self.seconds,
            seconds_per_frame=self.seconds_per_frame(),
            num_reused=self.num_reused,
            num_shots=self._num_shots,
            shot_seconds=float(self._plan.source.seconds_of(self._shot_pts)),
            memory=memory,
        )

    def _num_done(self) -> int:
        """Count what is whole and the frames of the parts at work, unless they are made for a second time."""
        new = (each for start, each in self._at_work.items() if start not in self._folder.parts)
        return self._folder.num_done + sum(each.stop - each.start for each in new)

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
