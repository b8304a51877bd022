"""The files of a folder: what is left to do of each, and doing it."""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

from vidx4.diffusion.options import UpscaleOptions
from vidx4.errors import DeviceError, OutputError, SourceChangedError, Vidx4Error
from vidx4.files.read import file_digest
from vidx4.files.stamp import Stamp, check_unchanged, stamp
from vidx4.jobs.alternatives import Prospects
from vidx4.jobs.choice import chosen_before, chosen_for_job, chosen_for_picture
from vidx4.jobs.estimate import Estimate, check_disk
from vidx4.jobs.folder.attempt import failed, outcome_of
from vidx4.jobs.folder.done import Asked, check_done, is_recorded
from vidx4.jobs.folder.item import FileOptions, Item
from vidx4.jobs.folder.journal import Journal
from vidx4.jobs.folder.names import Names
from vidx4.jobs.folder.places import Places
from vidx4.jobs.folder.records import Record, Records
from vidx4.jobs.folder.reports import FileReport, Outcome
from vidx4.jobs.folder.selection import Selection
from vidx4.jobs.identity import NOTHING, Identity, identify_picture
from vidx4.jobs.job import Backend, Job, Loader
from vidx4.jobs.local import LOCAL, check_memory
from vidx4.jobs.plan import plan_source
from vidx4.jobs.progress import Control
from vidx4.jobs.report import Report
from vidx4.jobs.run import start
from vidx4.jobs.still.read import is_picture
from vidx4.jobs.still.upscale import PictureReport, picture_suffix, plan_picture, upscale_picture
from vidx4.jobs.work_folder import num_kept, recorded_identity, work_folder
from vidx4.media.checks import require_kept
from vidx4.media.source import read_source
from vidx4.media.streams import choose_suffix
from vidx4.video import Source

_logger = logging.getLogger(__name__)

Result = TypeVar("Result")
OnEstimate = Callable[[Estimate, Prospects], Any]
"""Receives what a file takes, and what names alternatives."""


class Batch:
    """Upscales the files of a folder; a file that fails doesn't stop the others.

    Several threads may work on files at once.

    Args:
        selection: the files.
        options_of: returns the options of a file, given its path in the folder.
        loader: loads models, by default into this process.
        night: seconds that a file may take whose model or speed is left open; None for a usual night.
        is_local: whether that is where models work, so that this machine's memory counts.
        restart: whether to start from scratch instead of resuming earlier work.
        ignore_disk_space: whether to start even if the disk looks too small.
        accept_loss: whether to write an output even if verification finds something lost.
        journal: is told which files are at work.
    """

    def __init__(
        self,
        selection: Selection,
        options_of: Callable[[str], FileOptions],
        *,
        loader: Loader = LOCAL,
        night: float | None = None,
        is_local: bool = True,
        restart: bool = False,
        ignore_disk_space: bool = False,
        accept_loss: bool = False,
        journal: Journal | None = None,
    ) -> None:
        self.selection = selection
        self.journal = journal or Journal()
        self._options_of = options_of
        self._loader = loader
        self._night = night
        self._is_local = is_local
        self._restart = restart
        self._ignore_disk_space = ignore_disk_space
        self._accept_loss = accept_loss
        self.records = Records(selection.output_folder)
        self.places = Places(selection.folder, selection.output_folder, self.records.path)
        self._names = Names(selection, self.records)
        self._asked = Asked(lambda options: self._backend(options.upscale).identity)
        self._backends: dict[UpscaleOptions, Backend] = {}
        self._lock = RLock()  # guards the backends and the records

    def open(self) -> None:
        """Make sure, before the work, that outputs can be recorded, and remember where they go.

        Raises:
            OutputError: they can't be.
        """
        if not self.records.is_open:
            self.records.open()
            self.places.remember(())

    def skip(self, path: Path) -> FileReport | None:
        """Return a report on a file of which nothing is to be done, if that shows without opening it.

        Raises:
            ModelError: the model is not available.
        """
        if known := self.journal.known(path):
            return known
        options, found = self._options_of(self.selection.name(path)), stamp(path)
        for output in [] if options.request.overwrite else self._names.recorded(path):
            record = self.records.find(output)
            if record is not None and is_recorded(
                record, output, found, partial(self._asked_as, record, options)
            ):
                self._names.keep(path, output)
                return FileReport(path, Outcome.SKIPPED, output)
        return None

    def _asked_as(self, record: Record, options: FileOptions) -> str:
        """Return the digest of what is asked for, if what is left open is chosen as for a record."""
        upscale = chosen_before(options.upscale, self._loader, record.identity)
        return "" if upscale is None else self._asked.digest(replace(options, upscale=upscale))

    def look(self, path: Path) -> Item | FileReport:
        """Return what is left to do of a file, or a report if there is nothing.

        Raises:
            ModelError: the model is not available.
        """
        return self._of(path, partial(self._look, path))

    def without_clashes(self, looks: Sequence[Item | FileReport]) -> list[Item | FileReport]:
        """Return looks at files, with reports for those whose output would be that of another file, too."""
        return self._names.without_clashes(looks)

    def _of(self, path: Path, work: Callable[[], Result]) -> Result | FileReport:
        if known := self.journal.known(path):
            return known
        with self.journal.at_work(path):
            try:
                return outcome_of(path, work)
            except DeviceError as error:
                report = failed(path, error)
                _logger.warning("%s: %s", path, report.message)
                self.journal.give_up()
                return report

    def _look(self, path: Path) -> Item | FileReport:
        item = self._item(path, self._options_of(self.selection.name(path)))
        self._names.check_owner(path, item.output)
        if not item.output.exists() or item.options.request.overwrite:
            self._rehearse(item)
            return item
        if item.num_kept and not item.num_left:
            return item  # an earlier run was stopped just before it removed the work folder
        return FileReport(path, Outcome.SKIPPED, item.output, self._check_done(item))

    def _item(self, path: Path, options: FileOptions) -> Item:
        found, wanted = stamp(path), self._names.stem(path)
        self.selection.check_output(wanted)
        if is_picture(path):
            output = wanted.with_name(wanted.name + picture_suffix(path))
            options = replace(options, upscale=chosen_for_picture(options.upscale, self._loader))
            return Item(path, options, plan_picture(path, output, overwrite=True), None, stamp=found)
        source = read_source(path, options.request.read)
        suffix = choose_suffix(source, options.request.encode.codec, options.request.streams)
        return self._video(source, options, wanted.with_name(wanted.name + suffix), found)

    def _video(self, source: Source, options: FileOptions, output: Path, found: Stamp | None) -> Item:
        plan = plan_source(source, output, replace(options.request, overwrite=True))
        made = NOTHING if options.request.overwrite else self.records.known(output, source.path)
        upscale = chosen_for_job(
            options.upscale, plan, self._loader, self._night, made=made, restart=self._restart
        )
        options = replace(options, upscale=upscale)
        kept = 0 if self._restart else num_kept(plan.work_folder)
        return Item(source.path, options, output, plan, min(kept, plan.num_frames), found)

    def _rehearse(self, item: Item) -> None:
        """Raise what would go wrong with the work, or after it."""
        if self._is_local and item.num_left:
            check_memory(item.options.upscale, *item.size)
        if item.plan is not None and item.num_left:
            require_kept(item.plan.rehearsal.lost, item.output, accept_loss=self._accept_loss)

    def _check_done(self, item: Item) -> str:
        """Make sure that an existing output is what would be made; return a remark on it."""
        remark = check_done(item, self.records, partial(self._identity, item))
        if record := self.records.find(item.output):
            self.records.renew(item.output, item.path, record, *self._named(item))
        return remark

    def _named(self, item: Item) -> tuple[str, str]:
        """Return the name of a source in the folder, and the digest of what is asked for."""
        return self.selection.name(item.path), self._asked.digest(item.options)

    def _identity(self, item: Item) -> Identity:
        known, backend = self.records.known(item.output, item.path), self._backend(item.options.upscale)
        if item.plan is None:
            return identify_picture(item.path, backend.identity, known)
        return backend.job(item.plan, item.options.batch_size, known).identity

    def _backend(self, options: UpscaleOptions) -> Backend:
        """Return the model with some options; its weights are loaded only once."""
        with self._lock:
            if options not in self._backends:
                loaded = next(iter(self._backends.values()), None)
                self._backends[options] = (
                    loaded.with_options(options) if loaded else self._loader.load(options)
                )
            return self._backends[options]

    def do(self, item: Item, control: Control, on_estimate: OnEstimate = lambda *_: None) -> FileReport:
        """Upscale one file, resuming earlier work.

        Args:
            item: the file.
            control: receives the progress, and stops the work.
            on_estimate: called with what the file takes, before most of the work is done, and with what names
                alternatives.

        Raises:
            StoppedError: the control stopped it; finished parts are kept.
            SourceChangedError: it has changed since it was looked at; nothing is made or kept of it.
            ModelError: the model is not available.
        """
        report = self.skip(item.path)  # another batch may have done it meanwhile
        if report is None:
            report = self._of(item.path, partial(self._done, item, control, on_estimate))
        if report.outcome == Outcome.FAILED and self._has_changed(item):
            _discard_parts(item)
            raise SourceChangedError(report.message)
        return report

    def _done(self, item: Item, control: Control, on_estimate: OnEstimate) -> FileReport:
        check_unchanged(item.path, item.stamp)
        self.selection.check_output(item.output)
        self._names.check_owner(item.path, item.output)
        if item.plan is None:
            return self._picture_done(item, control)
        plan = replace(item.plan, request=item.options.request)
        backend = self._backend(item.options.upscale)
        job = backend.job(plan, item.options.batch_size)
        try:
            report = self._run(job, Prospects(job, backend), control, on_estimate)
        except SourceChangedError:
            _discard_parts(item)
            raise
        self._check_made(item, job.identity)
        message = " ".join([*report.warnings, *report.damage, *self._record(item, job.identity)])
        return _done_report(item, message, report.num_new, report)

    def _picture_done(self, item: Item, control: Control) -> FileReport:
        overwrite, backend = item.options.request.overwrite, self._backend(item.options.upscale)
        plan_picture(item.path, item.output, overwrite=overwrite)
        report = upscale_picture(item.path, item.output, backend, control, overwrite=overwrite)
        identity = self._identity(item)
        self._check_made(item, identity)
        message = " ".join(self._record(item, identity))
        return _done_report(item, message, 1, report)

    def _run(self, job: Job, prospects: Prospects, control: Control, on_estimate: OnEstimate) -> Report:
        with start(job, control, restart=self._restart, accept_loss=self._accept_loss) as run:
            estimate = run.estimate()
            on_estimate(estimate, prospects)
            if not self._ignore_disk_space:
                check_disk(job.plan, estimate)
            return run.finish()

    def _has_changed(self, item: Item) -> bool:
        return stamp(item.path) not in (None, item.stamp)

    def _check_made(self, item: Item, identity: Identity) -> None:
        """Make sure that a new output is in its place, and of what its source holds; if not, remove it.

        Raises:
            OutputError: the folder of the outputs is gone: this one was made in its place.
            SourceChangedError: the source has changed.
        """
        error: Vidx4Error
        if (missing := self.places.missing(item.path)) == self.selection.output_folder:
            error = OutputError(f"{missing} can't be reached.")
        elif self._has_changed(item) and _digest(item.path) != identity["source"]:
            error = SourceChangedError(f"{item.path} changed while it was enlarged.")
        else:
            return
        with suppress(OSError):
            item.output.unlink()
        raise error

    def _record(self, item: Item, identity: Identity) -> list[str]:
        """Record an output; return what is to be said about that."""
        try:
            with self._lock:
                self.records.add(item.output, item.path, identity, *self._named(item))
        except OSError as error:
            return [f"It could not be recorded in {self.records.path} ({error.strerror or error})."]
        return []


def _done_report(item: Item, message: str, num_frames: int, report: Report | PictureReport) -> FileReport:
    levels = report.noise_level, report.estimated_noise_level
    return FileReport(item.path, Outcome.DONE, item.output, message, num_frames, report.seconds, *levels)


def _digest(path: Path) -> str | None:
    """Return the digest of a source; None if it can't be read."""
    with suppress(OSError):
        return file_digest(path)
    return None


def _discard_parts(item: Item) -> None:
    """Remove the parts that were made of what a source held before it changed."""
    if item.plan is not None:
        was = recorded_identity(item.plan.work_folder).get("source")
        if was not in (None, _digest(item.path)):
            with suppress(Vidx4Error), work_folder(item.plan, NOTHING, restart=True):
                pass
