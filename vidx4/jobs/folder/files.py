"""The files of a folder: what is left to do of each, and doing it."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

from vidx4.diffusion.options import UpscaleOptions
from vidx4.errors import ModelError, OutputError, SourceError, StoppedError, Vidx4Error
from vidx4.frames import SCALE
from vidx4.jobs.estimate import Estimate, check_disk
from vidx4.jobs.folder.journal import Journal
from vidx4.jobs.folder.records import Records, what_is_wrong
from vidx4.jobs.folder.reports import FileReport, Outcome
from vidx4.jobs.folder.selection import Selection
from vidx4.jobs.identity import Identity, identify_picture
from vidx4.jobs.job import Backend
from vidx4.jobs.local import LocalBackend, check_memory
from vidx4.jobs.plan import Plan, plan_source
from vidx4.jobs.progress import Control
from vidx4.jobs.request import Request
from vidx4.jobs.run import start
from vidx4.jobs.still.read import is_picture, stored_size
from vidx4.jobs.still.upscale import picture_suffix, plan_picture, upscale_picture
from vidx4.jobs.work_folder import num_kept
from vidx4.media.checks import require_kept, verify_output
from vidx4.media.source import read_source
from vidx4.media.streams import choose_suffix
from vidx4.video import Source

_logger = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True)
class FileOptions:
    """How one file is upscaled."""

    upscale: UpscaleOptions = UpscaleOptions()
    request: Request = Request()
    batch_size: int | None = None
    changed: str = ""
    """The options that the user set, in a few words."""


@dataclass(frozen=True)
class Item:
    """A file of a folder, and what is left to do of it."""

    path: Path
    options: FileOptions
    output: Path
    plan: Plan | None
    """The plan of a video; None for a still picture."""
    num_kept: int = 0
    """Frames that an earlier run has finished."""

    @property
    def num_left(self) -> int:
        """Frames that are left to upscale."""
        return self.plan.num_frames - self.num_kept if self.plan else 1

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a frame, as it is stored; raises as `stored_size`."""
        return (self.plan.source.width, self.plan.source.height) if self.plan else stored_size(self.path)

    @property
    def work_left(self) -> int:
        """Low-resolution pixels that are left to upscale; still pictures count as none."""
        return self.num_left * self.plan.source.width * self.plan.source.height if self.plan else 0

    def facts(self) -> dict[str, Any]:
        """Return what will be done with the file, as JSON values."""
        facts = {"path": str(self.path), "output": str(self.output)}
        counts = {"num_left": self.num_left, "num_kept": self.num_kept}
        status = "resumes" if self.num_kept else "to do"
        return {**facts, **counts, "status": status, "frames": self._frames, "notes": self.options.changed}

    @property
    def _frames(self) -> str:
        if self.plan is None:
            return "a picture"
        kept = f", {self.num_kept} of them done" if self.num_kept else ""
        source = self.plan.source
        return f"{self.plan.num_frames} of {source.width}x{source.height}{kept}"


class Batch:
    """Upscales the files of a folder; a file that fails doesn't stop the others.

    Several threads may work on files at once.

    Args:
        selection: the files.
        options_of: returns the options of a file, given its path in the folder.
        load: loads a model, by default into this process.
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
        load: Callable[[UpscaleOptions], Backend] = LocalBackend.load,
        is_local: bool = True,
        restart: bool = False,
        ignore_disk_space: bool = False,
        accept_loss: bool = False,
        journal: Journal | None = None,
    ) -> None:
        self.selection = selection
        self.journal = journal or Journal()
        self._options_of = options_of
        self._load = load
        self._is_local = is_local
        self._restart = restart
        self._ignore_disk_space = ignore_disk_space
        self._accept_loss = accept_loss
        self._records = Records(selection.output_folder)
        self._backends: dict[UpscaleOptions, Backend] = {}
        self._lock = RLock()  # guards the backends and the records

    def look_at(self, paths: Sequence[Path]) -> list[Item | FileReport]:
        """Return what is left to do of each file, or a report if there is nothing.

        Raises:
            ModelError: the model is not available.
        """
        outputs = self.selection.outputs(paths)
        return [self._of(path, partial(self._look, path, outputs[path])) for path in paths]

    def _of(self, path: Path, work: Callable[[], Result]) -> Result | FileReport:
        if known := self.journal.known(path):
            return known
        with self.journal.at_work(path):
            return _or_report(path, work)

    def _look(self, path: Path, wanted: Path) -> Item | FileReport:
        self.selection.check_output(wanted)
        options = self._options_of(self.selection.name(path))
        picture = is_picture(path)
        source = None if picture else read_source(path, options.request.read)
        suffix = picture_suffix(path)
        if source:
            suffix = choose_suffix(source, options.request.encode.codec, options.request.streams)
        item = self._item(path, options, wanted.with_name(wanted.name + suffix), source)
        if not item.output.exists() or options.request.overwrite:
            self._rehearse(item)
            return item
        if item.num_kept and not item.num_left:
            return item  # an earlier run was stopped just before it removed the work folder
        message = self._check_done(item)
        return FileReport(path, Outcome.SKIPPED, item.output, message)

    def _rehearse(self, item: Item) -> None:
        """Raise what would go wrong with the work, or after it."""
        if self._is_local and item.num_left:
            check_memory(item.options.upscale, *item.size)
        if item.plan is not None and item.num_left:
            require_kept(item.plan.rehearsal.lost, item.output, accept_loss=self._accept_loss)

    def _item(self, path: Path, options: FileOptions, output: Path, source: Source | None) -> Item:
        if source is None:
            return Item(path, options, plan_picture(path, output, overwrite=True), None)
        plan = plan_source(source, output, replace(options.request, overwrite=True))
        kept = 0 if self._restart else num_kept(plan.work_folder)
        return Item(path, options, output, plan, min(kept, plan.num_frames))

    def _check_done(self, item: Item) -> str:
        """Make sure that an existing output is what would be made; return a remark on it.

        Raises:
            OutputError: it is something else.
        """
        record = self._records.find(item.output)
        if record is None:
            _check_looks_done(item)
            return "It is complete, but the options it was made with are not known."
        if why := what_is_wrong(record, item.output, self._identity(item)):
            raise OutputError(f"{item.output} exists already, but {why}. Use --overwrite to replace it.")
        return ""

    def _identity(self, item: Item) -> Identity:
        known = self._records.known(item.output, item.path)
        if item.plan is None:
            return identify_picture(item.path, self._backend(item).identity, known)
        return self._backend(item).job(item.plan, item.options.batch_size, known).identity

    def _backend(self, item: Item) -> Backend:
        """Return the model with the options of a file; its weights are loaded only once."""
        options = item.options.upscale
        with self._lock:
            if options not in self._backends:
                loaded = next(iter(self._backends.values()), None)
                self._backends[options] = loaded.with_options(options) if loaded else self._load(options)
            return self._backends[options]

    def do(
        self, item: Item, control: Control, on_estimate: Callable[[Estimate], Any] = lambda _: None
    ) -> FileReport:
        """Upscale one file, resuming earlier work.

        Args:
            item: the file.
            control: receives the progress, and stops the work.
            on_estimate: called with what the file takes, before most of the work is done.

        Raises:
            StoppedError: the control stopped it; finished parts are kept.
            ModelError: the model is not available.
        """
        return self._of(item.path, partial(self._done, item, control, on_estimate))

    def _done(self, item: Item, control: Control, on_estimate: Callable[[Estimate], Any]) -> FileReport:
        self.selection.check_output(item.output)
        backend = self._backend(item)
        if item.plan is None:
            overwrite = item.options.request.overwrite
            plan_picture(item.path, item.output, overwrite=overwrite)
            upscale_picture(item.path, item.output, backend, control, overwrite=overwrite)
            self._record(item, self._identity(item))
            return FileReport(item.path, Outcome.DONE, item.output, num_frames=1)
        plan = replace(item.plan, request=item.options.request)
        job = backend.job(plan, item.options.batch_size)
        with start(job, control, restart=self._restart, accept_loss=self._accept_loss) as run:
            estimate = run.estimate()
            on_estimate(estimate)
            if not self._ignore_disk_space:
                check_disk(plan, estimate)
            report = run.finish()
        self._record(item, job.identity)
        message = " ".join(report.warnings + report.damage)
        return FileReport(item.path, Outcome.DONE, item.output, message, report.num_new, report.seconds)

    def _record(self, item: Item, identity: Identity) -> None:
        with self._lock:
            self._records.add(item.output, item.path, identity)


def _or_report(path: Path, work: Callable[[], Result]) -> Result | FileReport:
    """Return the result of some work on a file or, if it fails, a report."""
    try:
        return work()
    except (StoppedError, ModelError, KeyboardInterrupt):
        raise
    except Vidx4Error as error:
        notes = getattr(error, "__notes__", [])
        return FileReport(path, Outcome.FAILED, None, " ".join([str(error), *notes]))
    except MemoryError:
        return FileReport(path, Outcome.FAILED, None, "There is not enough memory for it.")
    except RecursionError:
        return FileReport(path, Outcome.FAILED, None, "It, or the path to it, is nested too deeply.")
    except BaseException as error:  # a library may even ask for the end of the process
        # Even a bug concerns this file only: the rest of the night's work continues.
        _logger.exception("%s failed because of a bug in vidx4.", path)
        return FileReport(path, Outcome.FAILED, None, f"This is a bug in vidx4: {error!r}.")


def _check_looks_done(item: Item) -> None:
    """Make sure, by its content, that an output is its source at four times the size.

    Raises:
        OutputError: it is not, or can't be read.
    """
    try:
        looks_done = _is_larger_picture(item) if item.plan is None else _is_larger_video(item.plan)
    except SourceError:
        looks_done = False
    if not looks_done:
        raise OutputError(
            f"{item.output} exists already, but is not a complete copy of {item.path} at four times its "
            "size. Use --overwrite to replace it."
        )


def _is_larger_picture(item: Item) -> bool:
    if not is_picture(item.output):
        return False
    # Sorted: the source may be stored turned, the output never is.
    return sorted(stored_size(item.output)) == sorted(SCALE * side for side in stored_size(item.path))


def _is_larger_video(plan: Plan) -> bool:
    return all(check.is_kept for check in verify_output(plan.written, plan.output))
