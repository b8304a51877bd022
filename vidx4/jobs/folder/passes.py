"""Passes over a folder: files are upscaled; those still being written wait for the next look."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event, RLock
from typing import Any, Protocol

from vidx4.errors import StoppedError
from vidx4.jobs.estimate import Estimate
from vidx4.jobs.folder.files import Batch, Item
from vidx4.jobs.folder.reports import FileReport, Outcome
from vidx4.jobs.folder.selection import Stamp, stamp, unsettled
from vidx4.jobs.part_record import Part
from vidx4.jobs.progress import Control, Progress
from vidx4.jobs.stop import Stop
from vidx4.jobs.threads import poll, result_of

WATCH_SECONDS = 5.0
"""Seconds between two looks at a watched folder."""


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


class Observer(Protocol):
    """Is notified of the events of a batch, by one thread at a time."""

    def passed_over(self, reasons: Mapping[str, str]) -> None:
        """Receive why files are passed over, by their paths in the folder; maybe none."""

    def planned(self, looks: Sequence[Item | FileReport]) -> None:
        """Receive what is left to do of each file."""

    def begun(self, item: Item, number: int, num_files: int) -> None:
        """Receive the file that starts now."""

    def estimated(self, item: Item, estimate: Estimate, total: Total) -> None:
        """Receive what the first file takes and, at its speed, all files."""

    def progressed(self, item: Item, progress: Progress, total: Total) -> None:
        """Receive the progress of a file and of all files."""

    def part_made(self, item: Item, part: Part) -> None:
        """Receive a part of a file that is finished."""

    def reported(self, report: FileReport) -> None:
        """Receive what became of a file."""


class Pass:
    """Upscales some files of a folder once, one after another.

    On a cluster, a file starts as soon as the one before it is read, to fill the gaps that the last shots of
    that one leave among the workers.

    Args:
        batch: does the work on each file.
        observer: is notified of it.
        stop: when set, ends the pass after the frames at work.
    """

    def __init__(self, batch: Batch, observer: Observer, stop: Stop) -> None:
        self._batch = batch
        self._observer = observer
        self._stop = stop
        self._lock = RLock()  # guards the reports, the tally and the observer
        self.reports: list[FileReport] = []

    def run(self, paths: Sequence[Path]) -> list[FileReport]:
        """Upscale all files; those still being written come last, and are left if they keep growing."""
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
        with ThreadPoolExecutor(max_workers=max(1, len(items))) as threads:
            done: list[Future[None]] = []
            for item in items:
                is_alone = self._batch.journal.is_suspect(item.path)
                _wait_for(done if is_alone else [])
                done.append(self._begun(item, tally, threads))
                _wait_for(done if is_alone else [])
            _wait_for(done)

    def _begun(self, item: Item, tally: "_Tally", threads: ThreadPoolExecutor) -> Future[None]:
        """Start a file, and return when the next one may start."""
        is_read = Event()
        future = threads.submit(self._finish, item, tally, is_read)
        poll(is_read.wait)
        return future

    def _finish(self, item: Item, tally: "_Tally", is_read: Event) -> None:
        try:
            with self._lock:
                self._observer.begun(item, tally.number_of(item), tally.num_files)
            report = self._do(item, tally, is_read)
            with self._lock:
                tally.finish(item)
                self._report(report)
        except BaseException:
            self._stop.set()  # such errors are not of this file only: the others would fail, too
            raise
        finally:
            is_read.set()

    def _do(self, item: Item, tally: "_Tally", is_read: Event) -> FileReport:
        if self._stop.is_set():
            return FileReport(
                item.path, Outcome.LEFT, message="The batch was stopped before this file started."
            )

        def on_progress(progress: Progress) -> None:
            with self._lock:
                self._observer.progressed(item, progress, tally.total(item, progress))

        def on_estimate(estimate: Estimate) -> None:
            with self._lock:
                if not tally.is_estimated:
                    tally.is_estimated = True
                    self._observer.estimated(item, estimate, tally.estimate(item, estimate))

        def on_part(part: Part) -> None:
            with self._lock:
                self._observer.part_made(item, part)

        control = Control(on_progress, on_part, self._stop, is_read.set)
        try:
            return self._batch.do(item, control, on_estimate)
        except StoppedError as error:
            message = " ".join([str(error), *getattr(error, "__notes__", [])])
            return FileReport(item.path, Outcome.LEFT, message=message)

    def _report(self, report: FileReport) -> None:
        self.reports.append(report)
        if not self._batch.journal.is_told(report):
            self._observer.reported(report)
            self._batch.journal.tell(report)


def _wait_for(futures: Sequence[Future[None]]) -> None:
    for future in futures:
        result_of(future)


class _Tally:
    """Adds up the work of several files."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items
        self._left = {item.path: item.work_left for item in items}
        self._all = sum(self._left.values())
        self._num_frames = sum(item.num_left for item in items)
        self._pixels_per_second: dict[Path, float] = {}
        """Speed of each file at work; between files, that of the last one."""
        self.is_estimated = False

    @property
    def num_files(self) -> int:
        return len(self._items)

    def number_of(self, item: Item) -> int:
        return self._items.index(item) + 1

    def finish(self, item: Item) -> None:
        self._left[item.path] = 0
        if len(self._pixels_per_second) > 1:
            self._pixels_per_second.pop(item.path, None)

    def total(self, item: Item, progress: Progress) -> Total:
        return self._total(item, progress.num_frames - progress.num_done, progress.seconds_per_frame)

    def estimate(self, item: Item, estimate: Estimate) -> Total:
        return self._total(item, estimate.num_left, estimate.seconds_per_frame)

    def _total(self, item: Item, num_left: int, seconds_per_frame: float) -> Total:
        pixels = item.work_left // max(item.num_left, 1)
        self._left[item.path] = pixels * num_left
        self._pixels_per_second[item.path] = max(pixels, 1) / seconds_per_frame
        left = sum(self._left.values())
        share = 1 - left / self._all if self._all else 1.0
        seconds = left / sum(self._pixels_per_second.values())
        return Total(self.number_of(item), self.num_files, self._num_frames, share, seconds)


def watch(batch: Batch, observer: Observer, stop: Stop, seconds: float = WATCH_SECONDS) -> list[FileReport]:
    """Make passes over a folder until stopped; a file is done again only after it has changed."""
    seen: dict[Path, Stamp | None] = {}
    reports: dict[Path, FileReport] = {}
    known: set[str] = set()
    while not stop.is_set():
        found = batch.selection.survey()
        observer.passed_over({name: why for name, why in found.passed_over.items() if name not in known})
        known.update(found.passed_over)
        paths = [path for path in found.paths if seen.get(path) != stamp(path)]
        stamps = {path: stamp(path) for path in paths}
        for report in Pass(batch, observer, stop).run(paths):
            reports[report.path] = report
            if report.outcome != Outcome.LEFT:
                seen[report.path] = stamps[report.path]
        stop.wait(seconds)
    return list(reports.values())
