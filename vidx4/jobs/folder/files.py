"""A folder: what is left to do, one file after another, a report."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

from PIL import Image

from vidx4.diffusion.options import UpscaleOptions
from vidx4.errors import ModelError, OutputError, SourceError, StoppedError, Vidx4Error
from vidx4.frames import SCALE
from vidx4.jobs.estimate import Estimate, check_disk
from vidx4.jobs.folder.records import Records, what_is_wrong
from vidx4.jobs.folder.selection import Selection
from vidx4.jobs.identity import Identity, identify_picture
from vidx4.jobs.job import Backend
from vidx4.jobs.local import load_here
from vidx4.jobs.plan import Plan, plan_source
from vidx4.jobs.progress import Control
from vidx4.jobs.request import Request
from vidx4.jobs.run import start
from vidx4.jobs.still.read import is_picture
from vidx4.jobs.still.upscale import picture_suffix, plan_picture, upscale_picture
from vidx4.jobs.work_folder import num_kept
from vidx4.media.checks import verify_output
from vidx4.media.source import read_source
from vidx4.media.streams import choose_suffix
from vidx4.video import Source

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


class Outcome(StrEnum):
    """What became of a file."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    LEFT = "left"
    """For later: it was still being written, or the batch was stopped."""


@dataclass(frozen=True)
class FileReport:
    """What became of one file of a folder."""

    path: Path
    outcome: Outcome
    output: Path | None = None
    message: str = ""
    """Why it failed or was left, or what was lost."""
    num_frames: int = 0
    """That were enlarged."""
    seconds: float = 0.0


@dataclass(frozen=True)
class FileOptions:
    """How one file is enlarged."""

    upscale: UpscaleOptions = UpscaleOptions()
    request: Request = Request()
    batch_size: int | None = None
    changed: str = ""
    """What of it the user chose, in a few words."""


@dataclass(frozen=True)
class Item:
    """A file of a folder that was looked at."""

    path: Path
    options: FileOptions
    output: Path
    plan: Plan | None
    """What will be done; None for a still picture."""
    num_kept: int = 0
    """Frames of it that an earlier run has made."""

    @property
    def num_left(self) -> int:
        """Frames that are to be enlarged."""
        return self.plan.num_frames - self.num_kept if self.plan else 1

    @property
    def work_left(self) -> int:
        """Low-resolution pixels that are to be enlarged; pictures count for nothing."""
        return self.num_left * self.plan.source.width * self.plan.source.height if self.plan else 0


class Batch:
    """Works through the files of a folder; a file that fails doesn't stop the others.

    Several threads may do files at once.

    Args:
        selection: the files.
        options_of: how a file is enlarged, by its path in the folder.
        load: loads a model; into this process where None.
        restart: whether work begins anew where an earlier run was stopped.
        ignore_disk_space: whether to start even if the disk looks too small.
        accept_loss: whether to write an output even if verification finds something lost.
    """

    def __init__(
        self,
        selection: Selection,
        options_of: Callable[[str], FileOptions],
        *,
        load: Callable[[UpscaleOptions], Backend] = load_here,
        restart: bool = False,
        ignore_disk_space: bool = False,
        accept_loss: bool = False,
    ) -> None:
        self.selection = selection
        self._options_of = options_of
        self._load = load
        self._restart = restart
        self._ignore_disk_space = ignore_disk_space
        self._accept_loss = accept_loss
        self._records = Records(selection.output_folder)
        self._backends: dict[UpscaleOptions, Backend] = {}
        self._lock = RLock()  # of backends and records

    def look_at(self, paths: Sequence[Path]) -> list[Item | FileReport]:
        """Tell of each file what will be done, or why nothing is.

        Raises:
            ModelError: the model can't be had.
        """
        outputs = self.selection.outputs(paths)
        return [_guarded(path, partial(self._look, path, outputs[path])) for path in paths]

    def _look(self, path: Path, wanted: Path) -> Item | FileReport:
        options = self._options_of(self.selection.name(path))
        picture = is_picture(path)
        source = None if picture else read_source(path, options.request.read)
        suffix = picture_suffix(path)
        if source:
            suffix = choose_suffix(source, options.request.encode.codec, options.request.streams)
        item = self._item(path, options, wanted.with_name(wanted.name + suffix), source)
        if not item.output.exists() or options.request.overwrite:
            return item
        if item.num_kept and not item.num_left:
            return item  # it ended just before its work folder was removed
        message = self._check_done(item)
        return FileReport(path, Outcome.SKIPPED, item.output, message)

    def _item(self, path: Path, options: FileOptions, output: Path, source: Source | None) -> Item:
        if source is None:
            return Item(path, options, plan_picture(path, output, overwrite=True), None)
        plan = plan_source(source, output, replace(options.request, overwrite=True))
        kept = 0 if self._restart else num_kept(plan.work_folder)
        return Item(path, options, output, plan, min(kept, plan.num_frames))

    def _check_done(self, item: Item) -> str:
        """Make sure that an output is what would be made; return what is to be said of it.

        Raises:
            OutputError: it is not.
        """
        record = self._records.find(item.output)
        if record is None:
            _check_looks_done(item)
            return "It is not known of which options it came, but it is whole."
        if why := what_is_wrong(record, item.output, self._identity(item)):
            raise OutputError(f"{item.output} exists already, but {why}. --overwrite replaces it.")
        return ""

    def _identity(self, item: Item) -> Identity:
        digest = self._records.source_digest(item.output, item.path)
        if item.plan is None:
            return identify_picture(item.path, self._backend(item).identity, digest)
        return self._backend(item).job(item.plan, item.options.batch_size, digest).identity

    def _backend(self, item: Item) -> Backend:
        """Return what enlarges a file; a model is loaded once."""
        options = item.options.upscale
        with self._lock:
            if options not in self._backends:
                loaded = next(iter(self._backends.values()), None)
                self._backends[options] = loaded.with_options(options) if loaded else self._load(options)
            return self._backends[options]

    def do(
        self, item: Item, control: Control, on_estimate: Callable[[Estimate], Any] = lambda _: None
    ) -> FileReport:
        """Enlarge one file; where an earlier run was stopped, this one goes on.

        Args:
            item: the file.
            control: hears of the progress and stops it.
            on_estimate: hears what it takes, before the most of it is done.

        Raises:
            StoppedError: the control said so; what is whole is kept.
            ModelError: the model can't be had.
        """
        return _guarded(item.path, partial(self._done, item, control, on_estimate))

    def _done(self, item: Item, control: Control, on_estimate: Callable[[Estimate], Any]) -> FileReport:
        backend = self._backend(item)
        if item.plan is None:
            plan_picture(item.path, item.output, overwrite=item.options.request.overwrite)
            upscale_picture(item.path, item.output, backend, control)
            self._record(item, self._identity(item))
            return FileReport(item.path, Outcome.DONE, item.output, num_frames=1)
        plan = replace(item.plan, request=item.options.request)
        job = backend.job(plan, item.options.batch_size)
        with start(job, control, restart=self._restart) as run:
            estimate = run.estimate()
            on_estimate(estimate)
            if not self._ignore_disk_space:
                check_disk(plan, estimate)
            report = run.finish(accept_loss=self._accept_loss)
        self._record(item, job.identity)
        message = " ".join(report.warnings + report.damage)
        return FileReport(item.path, Outcome.DONE, item.output, message, report.num_new, report.seconds)

    def _record(self, item: Item, identity: Identity) -> None:
        with self._lock:
            self._records.add(item.output, item.path, identity)


def _guarded(path: Path, work: Callable[[], Result]) -> Result | FileReport:
    """Do something for a file; what goes wrong with it becomes a report."""
    try:
        return work()
    except (StoppedError, ModelError):
        raise
    except Vidx4Error as error:
        notes = getattr(error, "__notes__", [])
        return FileReport(path, Outcome.FAILED, None, " ".join([str(error), *notes]))
    except Exception as error:
        # A fault of the program, too, concerns one file: the others of the night go on.
        logger.exception("%s failed by a fault of vidx4.", path)
        return FileReport(path, Outcome.FAILED, None, f"A fault of vidx4: {error!r}.")


def _check_looks_done(item: Item) -> None:
    """Make sure, by what an output holds, that it is its source four times larger.

    Raises:
        OutputError: it is not, or can't be read.
    """
    try:
        looks_done = _is_larger_picture(item) if item.plan is None else _is_larger_video(item.plan)
    except SourceError:
        looks_done = False
    if not looks_done:
        raise OutputError(
            f"{item.output} exists already, and is not the whole of {item.path}, four times larger. "
            "--overwrite replaces it."
        )


def _is_larger_picture(item: Item) -> bool:
    if not is_picture(item.output):
        return False
    with Image.open(item.path) as small, Image.open(item.output) as large:
        return sorted(large.size) == sorted(SCALE * side for side in small.size)


def _is_larger_video(plan: Plan) -> bool:
    return all(check.is_kept for check in verify_output(plan.written, plan.output))


def summary(reports: Sequence[FileReport]) -> dict[str, Any]:
    """Return what became of all files, as JSON can hold it."""
    return {
        "num_files": {outcome.value: sum(each.outcome == outcome for each in reports) for outcome in Outcome},
        "num_frames": sum(each.num_frames for each in reports),
        "seconds": sum(each.seconds for each in reports),
        "files": [asdict(each) for each in reports],
    }
