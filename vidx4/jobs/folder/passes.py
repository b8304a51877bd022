"""Passes over a folder: files are upscaled; those still being written wait until they are whole."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event, RLock

from vidx4.errors import SourceChangedError, StoppedError
from vidx4.jobs.alternatives import Prospects
from vidx4.jobs.estimate import Estimate
from vidx4.jobs.folder.files import Batch
from vidx4.jobs.folder.item import Item
from vidx4.jobs.folder.observer import Observer
from vidx4.jobs.folder.reports import FileReport, Outcome
from vidx4.jobs.folder.selection import check_not_empty
from vidx4.jobs.folder.settling import Settling
from vidx4.jobs.folder.shares import Shares
from vidx4.jobs.folder.tally import Tally
from vidx4.jobs.part_record import Part
from vidx4.jobs.progress import Control, Progress
from vidx4.jobs.stop import Stop
from vidx4.jobs.threads import poll, result_of

_POLL_SECONDS = 1.0
"""Most seconds between two looks at what is waited for."""
_MAX_QUIETS = 3
"""How long files that keep growing are waited for, in times of the quiet that shows that they are whole."""
_MAX_TRIES = 3
"""How often a file is begun that changes while it is enlarged."""
STOPPED = "The batch was stopped before this file started."
STILL_WRITTEN = "It is still being written: run the same command again when it is complete."


class Pass:
    """Upscales some files of a folder once, one after another.

    On a cluster, a file starts as soon as the one before it is read, to fill the gaps that the last shots of
    that one leave among the workers.

    Args:
        batch: does the work on each file.
        observer: is notified of it.
        stop: when set, ends the pass after the frames at work.
        settling: tells which files are whole.
    """

    def __init__(self, batch: Batch, observer: Observer, stop: Stop, settling: Settling) -> None:
        self._batch = batch
        self._observer = observer
        self._stop = stop
        self._settling = settling
        self._places = batch.places
        self._lock = RLock()  # guards the reports, the tally and the observer
        self._shares = Shares(batch.places, self._tell, stop)
        self._done: list[FileReport] = []
        """Reports on files that are known to be done, until the plan names them."""
        self._again: list[Path] = []
        self._num_tries: Counter[Path] = Counter()
        self.reports: list[FileReport] = []

    def run_all(self) -> list[FileReport]:
        """Upscale all files of the folder, as `run` does.

        Raises:
            SourceError: there are none.
            StoppedError: it was stopped before all were found.
        """
        return self.run(self._all())

    def look_at_all(self) -> list[Item | FileReport]:
        """Return what is left to do of all files of the folder, as `look_at` does; raises as `run_all`.

        Raises:
            OutputError: outputs could not be recorded.
        """
        self._batch.records.check()
        return self.look_at(self._all())

    def _all(self) -> Sequence[Path]:
        found = self._batch.selection.survey(Control(stop=self._stop).check)
        self._observer.passed_over(found.passed_over)
        check_not_empty(self._batch.selection, found)
        self.report_unreadable(found.unreadable)
        return found.paths

    def run(self, paths: Sequence[Path]) -> list[FileReport]:
        """Upscale all files; those still being written come last, and are left if they keep growing."""
        self._batch.open()
        waiting = self._undone(paths)
        while self._do_ready(waiting) or self._wait(waiting):
            pass
        for path in sorted(waiting):
            self.report(FileReport(path, Outcome.LEFT, message=self._why_left))
        return self.reports

    def run_ready(self, paths: Sequence[Path]) -> set[Path]:
        """Upscale those files that are whole; return the others, without a report on them."""
        self._batch.open()
        waiting = self._undone(paths)
        while self._do_ready(waiting):
            pass
        return waiting

    def look_at(self, paths: Sequence[Path]) -> list[Item | FileReport]:
        """Return what is left to do of each file, whether or not it is whole; those after a stop are left."""
        waiting = self._undone(paths)
        looks = self._looks(sorted(waiting), waiting, waits=False)
        left = [FileReport(path, Outcome.LEFT, message=self._why_left) for path in waiting]
        looks = self._batch.without_clashes([*self._done, *looks, *left])
        return sorted([*self.reports, *looks], key=lambda look: look.path)

    def report_unreadable(self, reasons: Mapping[Path, str]) -> None:
        """Report folders that can't be listed and files that can't be looked at."""
        for path, why in reasons.items():
            report = FileReport(path, Outcome.FAILED, message=f"It can't be read: {why}.")
            self.report(self._batch.journal.known(path) or report)

    @property
    def _is_over(self) -> bool:
        return self._stop.is_set() or self._shares.gone is not None

    @property
    def _why_left(self) -> str:
        if self._shares.gone is not None:
            return f"{self._shares.gone} could not be reached."
        return STOPPED if self._stop.is_set() else STILL_WRITTEN

    def _undone(self, paths: Sequence[Path]) -> set[Path]:
        """Return the files that are not known to be done."""
        self._places.remember(paths)
        others = set(paths)
        for number, path in enumerate(paths):
            if self._is_over:
                break
            self._observer.looking(number, len(paths))
            if report := self._batch.skip(path):
                others.discard(path)
                self._done.append(report)
        return others

    def _do_ready(self, waiting: set[Path]) -> bool:
        """Look at those files that are whole, and upscale them; return whether there was anything to do."""
        looks: list[Item | FileReport] = [*self._done]
        self._done.clear()
        while ready := [
            path for path in sorted(waiting) if not self._is_over and self._settling.is_settled(path)
        ]:
            looks += self._looks(ready, waiting)
        self._do_all(self._batch.without_clashes(looks))
        waiting.update(self._again)
        is_busy = bool(looks or self._again)
        self._again.clear()
        return is_busy

    def _looks(
        self, paths: Sequence[Path], waiting: set[Path], *, waits: bool = True
    ) -> list[Item | FileReport]:
        """Look at files; those that have to be looked at again later keep waiting.

        Args:
            paths: the files.
            waiting: the files without a report so far; those that get one are removed.
            waits: whether a file that can't be read, and may still be written, is looked at again.
        """
        looks = []
        for number, path in enumerate(paths):
            self._observer.looking(number, len(paths))
            if look := self._look(path, waits=waits):
                waiting.discard(path)
                looks.append(look)
        return looks

    def _look(self, path: Path, *, waits: bool) -> Item | FileReport | None:
        """Look at a file; return nothing if that has to be done again later."""
        if not self._shares.can_reach(path):
            return None
        look = self._batch.look(path)
        is_failure = isinstance(look, FileReport) and look.outcome in (Outcome.FAILED, Outcome.GONE)
        if (
            waits
            and is_failure
            and not (self._settling.is_settled(path) and self._places.missing(path) is None)
        ):
            return None
        return look

    def _do_all(self, looks: Sequence[Item | FileReport]) -> None:
        if not looks:
            return
        self._observer.planned(looks)
        for look in looks:
            if isinstance(look, FileReport):
                self.report(look)
        items = [look for look in looks if isinstance(look, Item)]
        tally = Tally(items)
        with ThreadPoolExecutor(max_workers=max(1, len(items))) as threads:
            done: list[Future[None]] = []
            for item in items:
                is_alone = self._batch.journal.is_suspect(item.path)
                _wait_for(done if is_alone else [])
                done.append(self._begun(item, tally, threads))
                _wait_for(done if is_alone else [])
            _wait_for(done)

    def _begun(self, item: Item, tally: Tally, threads: ThreadPoolExecutor) -> Future[None]:
        """Start a file, and return when the next one may start."""
        is_read = Event()
        future = threads.submit(self._finish, item, tally, is_read)
        poll(is_read.wait)
        return future

    def _finish(self, item: Item, tally: Tally, is_read: Event) -> None:
        try:
            report = self._do(item, tally, is_read)
            with self._lock:
                tally.finish(item)
                if report is None:
                    self._again.append(item.path)
                else:
                    self.report(report)
        except BaseException:
            self._stop.set()  # such errors are not of this file only: the others would fail, too
            raise
        finally:
            is_read.set()

    def _do(self, item: Item, tally: Tally, is_read: Event) -> FileReport | None:
        """Upscale a file; return nothing if it has to be tried again later."""
        if self._is_over or not self._shares.can_reach(item.path):
            return FileReport(item.path, Outcome.LEFT, message=self._why_left)
        with self._lock:
            self._observer.begun(item, tally.number_of(item), tally.num_files)

        def on_estimate(estimate: Estimate, prospects: Prospects) -> None:
            with self._lock:
                if not tally.is_estimated:
                    tally.is_estimated = True
                    total = tally.estimate(item, estimate)
                    found = prospects.alternatives(estimate, total.seconds_left)
                    self._observer.estimated(item, replace(estimate, alternatives=found), total)

        try:
            report = self._batch.do(item, self._control(item, tally, is_read), on_estimate)
        except SourceChangedError:
            return self._after_change(item)
        except StoppedError as error:
            message = " ".join([str(error), *getattr(error, "__notes__", [])])
            return FileReport(item.path, Outcome.LEFT, message=message)
        is_failure = report.outcome in (Outcome.FAILED, Outcome.GONE)
        return None if is_failure and self._places.missing(item.path) is not None else report

    def _control(self, item: Item, tally: Tally, is_read: Event) -> Control:
        def on_progress(progress: Progress) -> None:
            with self._lock:
                self._observer.progressed(item, progress, tally.total(item, progress))

        def on_part(part: Part) -> None:
            with self._lock:
                self._observer.part_made(item, part)

        return Control(on_progress, on_part, self._stop, is_read.set)

    def _after_change(self, item: Item) -> FileReport | None:
        """Have a file tried again that changed while it was enlarged, or leave it."""
        self._num_tries[item.path] += 1
        if self._num_tries[item.path] < _MAX_TRIES:
            return None
        message = f"It changed {_MAX_TRIES} times while it was enlarged. {STILL_WRITTEN}"
        return FileReport(item.path, Outcome.LEFT, message=message)

    def report(self, report: FileReport) -> None:
        """Report what became of a file, unless an earlier process has."""
        self.reports.append(report)
        if not self._batch.journal.is_told(report):
            self._observer.reported(report)
            self._batch.journal.tell(report)

    def _wait(self, waiting: set[Path]) -> bool:
        """Wait until a file is whole; return whether one is."""
        if self._is_over or not waiting:
            return False
        self._tell(_waiting_for(len(waiting)))
        end = time.monotonic() + _MAX_QUIETS * self._settling.seconds
        while not self._stop.wait(min(_POLL_SECONDS, self._settling.seconds / 5)):
            looks = [self._settling.is_settled(path) for path in waiting]
            if any(looks):
                return True
            if time.monotonic() > end:
                break
        return False

    def _tell(self, message: str) -> None:
        with self._lock:
            self._observer.waiting(message)


def _waiting_for(num_files: int) -> str:
    files = "1 file that is" if num_files == 1 else f"{num_files} files that are"
    return f"waiting for {files} still being written, or changed just now"


def _wait_for(futures: Sequence[Future[None]]) -> None:
    for future in futures:
        result_of(future)
