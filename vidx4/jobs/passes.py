"""Passes over a folder: what is there is done, what is still being written is looked at again."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Protocol

from vidx4.errors import StoppedError
from vidx4.jobs.batch import Batch, FileReport, Item, Outcome
from vidx4.jobs.folder import Part
from vidx4.jobs.preflight import Estimate
from vidx4.jobs.progress import Control, Progress
from vidx4.jobs.select import Stamp, stamp, unsettled

WATCH_SECONDS = 5.0
"""Between two looks at a folder that is watched."""


@dataclass(frozen=True)
class Total:
    """How far all files of a pass are."""

    number: int
    """Of the file at work, from 1 on."""
    num_files: int
    num_frames: int
    """To be enlarged in all."""
    share_done: float
    """Of the work, which goes by pixels."""
    seconds_left: float
    """If all pixels take as long as those of the file at work."""


class Observer(Protocol):
    """Hears of a batch."""

    def planned(self, looks: Sequence[Item | FileReport]) -> None:
        """Hear what will be done of each file."""

    def begun(self, item: Item, number: int, num_files: int) -> None:
        """Hear that a file's turn has come."""

    def estimated(self, estimate: Estimate, total: Total) -> None:
        """Hear what the first file and, by its speed, all files take."""

    def progressed(self, progress: Progress, total: Total) -> None:
        """Hear how far the file at work and all files are."""

    def part_made(self, part: Part) -> None:
        """Hear that a part of the file at work is whole."""

    def reported(self, report: FileReport) -> None:
        """Hear what became of a file."""


class Pass:
    """Works through some files of a folder once.

    Args:
        batch: does it.
        observer: hears of it.
        stop: set from outside, it ends the pass after the frames at work.
    """

    def __init__(self, batch: Batch, observer: Observer, stop: Event) -> None:
        self._batch = batch
        self._observer = observer
        self._stop = stop
        self.reports: list[FileReport] = []

    def run(self, paths: Sequence[Path]) -> list[FileReport]:
        """Do all files; those that are still being written come last, and are left if that goes on."""
        growing = unsettled(paths)
        self._do_all([path for path in paths if path not in growing])
        still_growing = unsettled(growing) if growing and not self._stop.is_set() else growing
        self._do_all(sorted(growing - still_growing))
        for path in sorted(still_growing):
            self._report(FileReport(path, Outcome.LEFT, message="It is still being written."))
        return self.reports

    def _do_all(self, paths: Sequence[Path]) -> None:
        if not paths:
            return
        looks = self._batch.look_at(paths)
        self._observer.planned(looks)
        for look in looks:
            if isinstance(look, FileReport):
                self._report(look)
        items = [look for look in looks if isinstance(look, Item)]
        tally = _Tally(items)
        for item in items:
            self._observer.begun(item, tally.number, len(items))
            self._report(self._do(item, tally))
            tally.finish(item)

    def _do(self, item: Item, tally: "_Tally") -> FileReport:
        if self._stop.is_set():
            return FileReport(item.path, Outcome.LEFT, message="The batch was stopped before its turn.")

        def on_progress(progress: Progress) -> None:
            self._observer.progressed(progress, tally.total(item, progress))

        def on_estimate(estimate: Estimate) -> None:
            if not tally.is_estimated:
                tally.is_estimated = True
                self._observer.estimated(estimate, tally.estimate(item, estimate))

        control = Control(on_progress, self._observer.part_made, self._stop)
        try:
            return self._batch.do(item, control, on_estimate)
        except StoppedError as error:
            message = " ".join([str(error), *getattr(error, "__notes__", [])])
            return FileReport(item.path, Outcome.LEFT, message=message)

    def _report(self, report: FileReport) -> None:
        self.reports.append(report)
        self._observer.reported(report)


class _Tally:
    """Adds up the work of several files."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._all = sum(item.work_left for item in items)
        self._left = self._all
        self._num_frames = sum(item.num_left for item in items)
        self._num_files = len(items)
        self.number = 1
        self.is_estimated = False

    def finish(self, item: Item) -> None:
        self._left -= item.work_left
        self.number += 1

    def total(self, item: Item, progress: Progress) -> Total:
        pixels = item.work_left // max(item.num_left, 1)
        left = self._left - item.work_left + pixels * (progress.num_frames - progress.num_done)
        return self._total(left, progress.seconds_per_frame / max(pixels, 1))

    def estimate(self, item: Item, estimate: Estimate) -> Total:
        pixels = item.work_left // max(item.num_left, 1)
        left = self._left - item.work_left + pixels * estimate.num_left
        return self._total(left, estimate.seconds_per_frame / max(pixels, 1))

    def _total(self, left: int, seconds_per_pixel: float) -> Total:
        share = 1 - left / self._all if self._all else 1.0
        return Total(self.number, self._num_files, self._num_frames, share, left * seconds_per_pixel)


def watch(batch: Batch, observer: Observer, stop: Event, seconds: float = WATCH_SECONDS) -> list[FileReport]:
    """Make passes over a folder until somebody stops that; a file is done again only after it has changed."""
    seen: dict[Path, Stamp | None] = {}
    reports: dict[Path, FileReport] = {}
    while not stop.is_set():
        paths = [path for path in batch.selection.find() if seen.get(path) != stamp(path)]
        stamps = {path: stamp(path) for path in paths}
        for report in Pass(batch, observer, stop).run(paths):
            reports[report.path] = report
            if report.outcome != Outcome.LEFT:
                seen[report.path] = stamps[report.path]
        stop.wait(seconds)
    return list(reports.values())
