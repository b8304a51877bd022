"""Measurement of a running job."""

import time

from vidx4.jobs.plan import Plan
from vidx4.jobs.progress import Advance, Control, Progress, peak_memory
from vidx4.jobs.work_folder import WorkFolder


class Meter:
    """Counts the frames of a job and measures their speed.

    Args:
        plan: the frames of the job.
        folder: the parts that are finished.
        control: notified of progress.
    """

    def __init__(self, plan: Plan, folder: WorkFolder, control: Control) -> None:
        self._plan = plan
        self._folder = folder
        self._control = control
        self._start = time.monotonic()
        # Seconds, new frames and reused frames after the first batch, in which everything warms up.
        self._warm: tuple[float, int, float] | None = None
        self._num_shots = 0
        self._shot_pts = plan.source.pts[plan.frames.start]
        self._at_work: dict[int, Advance] = {}
        """Unfinished parts, by the index of their first frame."""
        self.num_new = 0
        self.num_reused = 0.0
        self.num_parts = 0
        """Number of parts that this run has started."""
        self._peak_memory = 0

    @property
    def seconds(self) -> float:
        """Seconds since the start of the run."""
        return time.monotonic() - self._start

    @property
    def peak_memory(self) -> int:
        """Peak memory of this process and its GPU, or of a worker if that is more, in bytes."""
        return max(peak_memory(), self._peak_memory)

    def add(self, advance: Advance) -> None:
        """Count encoded frames."""
        before = self._at_work.get(advance.start)
        if before is None and (advance.starts_shot or self.num_new == 0):
            self._num_shots += 1
            self._shot_pts = advance.pts
        self.num_parts += before is None
        # A part whose worker died is made again from its first frame: the difference may be negative.
        self.num_new += advance.num_frames - (before.num_frames if before else 0)
        self.num_reused += advance.num_reused - (before.num_reused if before else 0.0)
        self._warm = self._warm or (self.seconds, self.num_new, self.num_reused)
        self._at_work = {start: each for start, each in self._at_work.items() if not self._is_whole(each)}
        self._at_work[advance.start] = advance
        self._peak_memory = max(self._peak_memory, advance.memory)
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
        """Count the frames of finished parts, and those of unfinished parts that are not made a second time.

        A gap without a saved state is reached by making an earlier part again.
        """
        new = (each for start, each in self._at_work.items() if start not in self._folder.parts)
        return self._folder.num_done + sum(each.stop - each.start for each in new)

    def seconds_per_frame(self, *, without_reuse: bool = False) -> float:
        """Return the seconds per frame, the first batch not counted if there are more.

        Args:
            without_reuse: whether to count computed frames only, and no reused ones.
        """
        seconds, num_frames, num_reused = self._warm or (0.0, 0, 0.0)
        since, frames = self.seconds - seconds, float(self.num_new - num_frames)
        if without_reuse:
            frames -= self.num_reused - num_reused
        if frames < 1:
            since, frames = self.seconds, self.num_new
        return since / max(frames, 1)
