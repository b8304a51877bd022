"""The report of a finished job."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from vidx4.errors import OptionError, OutputError
from vidx4.files.read import read_json
from vidx4.files.write import write_whole
from vidx4.jobs.plan import WORK_SUFFIX, Plan
from vidx4.jobs.progress import StageSeconds, WorkerStats
from vidx4.media.encoder import resolve, try_out
from vidx4.media.formats.encoders import CODECS
from vidx4.media.place import check_writable
from vidx4.printing import to_json

SUFFIX = ".json"
IS_DRY_RUN = "is_dry_run"
"""Key in the report of a dry run, which holds the plan and the estimate."""
_WORTH_SAYING = 60
"""Seconds of encoding from which another encoder is worth a word."""
_LITTLE = 0.1
"""Share of the encoder's time up to which it has hardly waited for the model, so the model has for it."""


@dataclass(frozen=True)
class Report:
    """The result of a job, and what it took."""

    output: Path
    num_frames: int
    """Number of frames in the output."""
    num_new: int
    """Number of frames that this run enlarged; earlier runs made the others."""
    num_parts: int
    seconds: float
    seconds_per_frame: float
    """Seconds that this run took per frame, repeated frames not counted."""
    share_reused: float
    """Share of this run's work that was reused from earlier frames."""
    num_shots: int
    noise_level: int | None
    """Noise level that all frames were restored at; None if the model knows none."""
    estimated_noise_level: int | None
    """The estimate that it follows from, for `compact`; None if the user chose it."""
    stages: StageSeconds
    peak_memory: int
    """Peak memory of the process and on its GPU, in bytes."""
    workers: Mapping[str, WorkerStats]
    """What each worker of a cluster has done, by name; empty without a cluster."""
    warnings: tuple[str, ...]
    """Everything that the output lacks or changes, known before the work."""
    damage: tuple[str, ...]
    """Everything that could not be decoded."""
    settings: Mapping[str, str | bool | int | float | None] = field(default_factory=dict)
    """Everything that the output depends on, by the names of options."""
    faster_codec: str | None = None
    """A codec that this machine's GPU encodes, if the model waited for the encoder; None otherwise."""

    @property
    def frames_per_second(self) -> float:
        """Frames that this run enlarged per second."""
        return self.num_new / self.seconds

    def facts(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return asdict(self) | {"output": str(self.output), "frames_per_second": self.frames_per_second}


def faster_codec(plan: Plan, stages: StageSeconds) -> str | None:
    """Return a codec of this machine's GPU that would keep up with the model; None if the encoder did.

    Args:
        plan: the plan of a job that is done.
        stages: where its time went.
    """
    target, options = plan.written.target, plan.request.encode
    codec = f"{target.encoder.codec}_nvenc"
    waited = stages.encode > _WORTH_SAYING and stages.waiting < _LITTLE * stages.encode
    if not waited or codec not in CODECS or options.encoder_options:
        return None
    wanted = replace(options, codec=codec, crf=None, encoder_preset=None, pixel_format=None)
    try:
        settings = resolve(wanted, target.width, target.height, plan.source.bit_depth)
        try_out(settings, target.width, target.height)
    except OptionError:
        return None
    return codec


def check_report(path: Path, source: Path, output: Path | None = None, *, overwrite: bool = True) -> None:
    """Check, before the work, that a report can be written; at most another report is replaced by it.

    Args:
        path: the report.
        source: what is enlarged.
        output: the file, or the folder of files, that is made of it.
        overwrite: whether a report of finished work is replaced; that of a dry run always is.

    Raises:
        OutputError: it can't be written, or would take the place of something else.
    """
    check_writable(path, source, overwrite=True)
    is_taken = (
        path.parent.suffix == WORK_SUFFIX or path.name.startswith(WORK_SUFFIX) or _is_same(path, output)
    )
    if path.suffix.lower() != SUFFIX or is_taken:
        raise OutputError(f"{path} can't be the name of a report: choose one that ends with {SUFFIX}.")
    if path.parent.exists() or not _is_same(path.parent, output):  # the folder of a batch is made by it
        _check_folder(path.parent)
    is_empty = not path.exists() or path.stat().st_size == 0
    present = read_json(path) if not is_empty else {}
    if not is_empty and not {"num_frames", "seconds"} <= present.keys():
        raise OutputError(f"{path} exists and is no report: choose another name.")
    if present and not overwrite and not present.get(IS_DRY_RUN):
        raise OutputError(f"{path} already exists: choose another name, or use --overwrite.")


def _check_folder(folder: Path) -> None:
    """Make sure that files can be made in a folder, which is not made for a report."""
    try:
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OutputError(f"No report can be written in {folder}: {error.strerror}.") from error


def _is_same(path: Path, output: Path | None) -> bool:
    return output is not None and os.path.realpath(path) == os.path.realpath(output)


def write_report(path: Path, facts: dict[str, Any]) -> None:
    """Write a report as JSON; an existing file is replaced.

    Raises:
        OutputError: the file can't be written.
    """
    with write_whole(path) as unfinished:
        unfinished.write_bytes(to_json(facts, indent=1).encode() + b"\n")
