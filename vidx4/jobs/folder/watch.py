"""A folder that is watched: passes over it, until the user stops them."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from vidx4.files.stamp import Stamp, stamp
from vidx4.jobs.folder.files import Batch
from vidx4.jobs.folder.observer import Observer
from vidx4.jobs.folder.passes import STILL_WRITTEN, Pass
from vidx4.jobs.folder.reports import FileReport, Outcome
from vidx4.jobs.folder.selection import Found
from vidx4.jobs.folder.settling import Settling
from vidx4.jobs.stop import Stop

Key = TypeVar("Key", Path, str)

WATCH_SECONDS = 5.0
"""Seconds between two looks at a watched folder."""


class Watch:
    """Makes passes over a folder; a file is done again only after it has changed.

    Args:
        batch: does the work on each file.
        observer: is notified of it.
        stop: when set, ends the watch after the frames at work.
        settling: tells which files are whole.
    """

    def __init__(self, batch: Batch, observer: Observer, stop: Stop, settling: Settling) -> None:
        self._batch, self._observer, self._stop, self._settling = batch, observer, stop, settling
        self._seen: dict[Path, Stamp | None] = {}
        self._reports: dict[Path, FileReport] = {}
        self._passed_over: dict[str, str] = {}
        self._unreadable: dict[Path, str] = {}
        self._waiting: set[Path] = set()
        """Files that are still being written."""

    def run_all(self, seconds: float = WATCH_SECONDS) -> list[FileReport]:
        """Make passes, with some seconds in between, until stopped."""
        while not self._stop.is_set():
            self._make_pass()
            self._stop.wait(seconds)
        for path in sorted(self._waiting):
            report = FileReport(path, Outcome.LEFT, message=STILL_WRITTEN)
            self._observer.reported(report)
            self._reports[path] = report
        return self.reports

    @property
    def reports(self) -> list[FileReport]:
        """What became of each file last."""
        return list(self._reports.values())

    def _make_pass(self) -> None:
        found = self._batch.selection.survey()
        self._observer.passed_over(_new(found.passed_over, self._passed_over))
        self._passed_over.update(found.passed_over)
        stamps = {path: stamp(path) for path in found.paths}
        paths = [path for path in found.paths if path not in self._seen or self._seen[path] != stamps[path]]
        each = Pass(self._batch, self._observer, self._stop, self._settling)
        each.report_unreadable(self._newly_unreadable(found))
        self._wait_for(each.run_ready(paths))
        for report in each.reports:
            self._reports[report.path] = report
            if report.outcome != Outcome.LEFT:
                self._seen[report.path] = stamps.get(report.path)

    def _newly_unreadable(self, found: Found) -> dict[Path, str]:
        new = _new(found.unreadable, self._unreadable)
        self._unreadable = dict(found.unreadable)
        return new

    def _wait_for(self, paths: set[Path]) -> None:
        """Tell once of each file that is still being written."""
        for path in sorted(paths - self._waiting):
            self._observer.waiting(f"{path} is still being written, or changed just now: waiting for it")
        self._waiting = paths


def _new(found: Mapping[Key, str], known: Mapping[Key, str]) -> dict[Key, str]:
    """Return what was not found before."""
    return {each: why for each, why in found.items() if each not in known}
