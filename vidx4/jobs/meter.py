"""Measurement of a running job."""

from collections import deque
from typing import NamedTuple

from vidx4.jobs.plan import Plan
from vidx4.jobs.progress import Advance, Control, Progress, peak_memory
from vidx4.jobs.work_folder import WorkFolder
from vidx4.working_time import working_seconds

RECENT_SECONDS = 120.0
"""Working time whose speed the time left is estimated from; a run's first minutes say little of its last."""


class _Count(NamedTuple):
    """What a run had done at a moment."""

    seconds: float
    num_frames: int
    num_reused: float


class Meter:
    """Counts the frames of a job and measures their speed, in working time.

    Args:
        plan: the frames of the job.
        folder: the parts that are finished.
        control: notified of progress.
    """

    def __init__(self, plan: Plan, folder: WorkFolder, control: Control) -> None:
        self._plan = plan
        self._folder = folder
        self._control = control
        self._start = working_seconds()
        self._warm: _Count | None = None
        """The count after the first batch, in which everything warms up."""
        self._recent: deque[_Count] = deque()
        """Counts after batches, of which all but the first are recent."""
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
        return working_seconds() - self._start

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
        self._keep_count()
        self._at_work = {start: each for start, each in self._at_work.items() if not self._is_whole(each)}
        self._at_work[advance.start] = advance
        self._peak_memory = max(self._peak_memory, advance.memory)
        self._control.on_progress(self._progress(advance.memory))

    def _keep_count(self) -> None:
        now = self._count()
        self._warm = self._warm or now
        self._recent.append(now)
        while len(self._recent) > 2 and self._recent[1].seconds <= now.seconds - RECENT_SECONDS:
            self._recent.popleft()

    def _count(self) -> _Count:
        return _Count(self.seconds, self.num_new, self.num_reused)

    def _is_whole(self, advance: Advance) -> bool:
        part = self._folder.parts.get(advance.start)
        return part is not None and part.stop == advance.stop

    def _progress(self, memory: int) -> Progress:
        return Progress(
            num_done=self._num_done(),
            num_frames=self._plan.num_frames,
            num_new=self.num_new,
            seconds=self.seconds,
            seconds_per_frame=self._seconds_per_recent_frame(),
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

    def _seconds_per_recent_frame(self) -> float:
        first, last = self._recent[0], self._recent[-1]
        num_frames = last.num_frames - first.num_frames
        return (last.seconds - first.seconds) / num_frames if num_frames > 0 else self.seconds_per_frame()

    def seconds_per_frame(self, *, without_reuse: bool = False) -> float:
        """Return the seconds per frame, the first batch not counted if there are more.

        Args:
            without_reuse: whether to count computed frames only, and no reused ones.
        """
        now, warm = self._count(), self._warm or _Count(0.0, 0, 0.0)
        since, frames = now.seconds - warm.seconds, float(now.num_frames - warm.num_frames)
        if without_reuse:
            frames -= now.num_reused - warm.num_reused
        if frames < 1:
            since, frames = now.seconds, now.num_frames
        return since / max(frames, 1)
