"""The work on several files, added up."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidx4.jobs.estimate import Estimate
from vidx4.jobs.folder.item import Item
from vidx4.jobs.progress import Progress


@dataclass(frozen=True)
class Total:
    """Progress of all files of a pass together."""

    number: int
    """Number of the current file, from 1."""
    num_files: int
    num_frames: int
    """Number of frames of all files."""
    share_done: float
    """Share of the work that is done, counted in pixels."""
    seconds_left: float
    """Estimated from the speed of the files at work."""

    def facts(self) -> dict[str, Any]:
        """Return how much is done, as JSON values."""
        return {
            "number": self.number,
            "num_files": self.num_files,
            "share_done_of_all": round(self.share_done, 4),
            "seconds_left_of_all": round(self.seconds_left, 1),
        }


class Tally:
    """Adds up the work of several files.

    Args:
        items: the files.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self._numbers = {item.path: number for number, item in enumerate(items, 1)}
        self._left = {item.path: item.work_left for item in items}
        self._all = self._all_left = sum(self._left.values())
        self._num_frames = sum(item.num_left for item in items)
        self._pixels_per_second: dict[Path, float] = {}
        """Speed of each file at work; between files, that of the last one."""
        self.is_estimated = False
        """Whether the user has been told what all files take."""

    @property
    def num_files(self) -> int:
        """How many files there are."""
        return len(self._numbers)

    def number_of(self, item: Item) -> int:
        """Return the number of a file, from 1."""
        return self._numbers[item.path]

    def finish(self, item: Item) -> None:
        """Count a file as done."""
        self._set_left(item, 0)
        if len(self._pixels_per_second) > 1:
            self._pixels_per_second.pop(item.path, None)

    def total(self, item: Item, progress: Progress) -> Total:
        """Return the progress of all files, given that of one."""
        return self._total(item, progress.num_frames - progress.num_done, progress.seconds_per_frame)

    def estimate(self, item: Item, estimate: Estimate) -> Total:
        """Return what all files take, given what one takes."""
        return self._total(item, estimate.num_left, estimate.seconds_per_frame)

    def _total(self, item: Item, num_left: int, seconds_per_frame: float) -> Total:
        pixels = item.work_left // max(item.num_left, 1)
        self._set_left(item, pixels * num_left)
        self._pixels_per_second[item.path] = max(pixels, 1) / seconds_per_frame
        share = 1 - self._all_left / self._all if self._all else 1.0
        seconds = self._all_left / sum(self._pixels_per_second.values())
        return Total(self.number_of(item), self.num_files, self._num_frames, share, seconds)

    def _set_left(self, item: Item, work: int) -> None:
        self._all_left += work - self._left[item.path]
        self._left[item.path] = work
