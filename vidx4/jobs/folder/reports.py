"""What became of the files of a folder."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from vidx4.errors import BatchError, StoppedError
from vidx4.syntax import plural

NUM_NAMED = 5
"""Files passed over that are named."""


class Outcome(StrEnum):
    """What became of a file."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    LEFT = "left"
    """Left for later: it was still being written, the batch was stopped, or a folder was gone."""
    GONE = "gone"
    """Deleted or moved away before its turn."""


@dataclass(frozen=True)
class FileReport:
    """What became of one file of a folder."""

    path: Path
    outcome: Outcome
    output: Path | None = None
    message: str = ""
    """Reason that it failed or was left, or what was lost."""
    num_frames: int = 0
    """Number of frames that were upscaled."""
    seconds: float = 0.0
    noise_level: int | None = None
    """Noise level that it was restored at; None if the model knows none, or nothing was upscaled."""
    estimated_noise_level: int | None = None
    """The estimate that it follows from, for `compact`; None if the user chose it."""

    def facts(self) -> dict[str, Any]:
        """Return why nothing is to be done with the file, as JSON values."""
        facts = {"path": str(self.path), "output": str(self.output or ""), "num_left": 0, "num_kept": 0}
        return {**facts, "status": self.outcome.value, "frames": "", "notes": self.message}


def summary(reports: Sequence[FileReport], passed_over: Mapping[str, str]) -> dict[str, Any]:
    """Return what became of all files, as values that JSON can hold.

    Args:
        reports: what became of each video and picture.
        passed_over: why other files were passed over, by their paths in the folder.
    """
    return {
        "num_files": {outcome.value: sum(each.outcome == outcome for each in reports) for outcome in Outcome},
        "num_frames": sum(each.num_frames for each in reports),
        "seconds": sum(each.seconds for each in reports),
        "files": [asdict(each) for each in reports],
        "passed_over": list(passed_over),
        "reasons": list(passed_over.values()),
    }


def plan_summary(looks: Sequence[Mapping[str, Any]], passed_over: Mapping[str, str]) -> dict[str, Any]:
    """Return what would be done, as values that JSON can hold.

    Args:
        looks: facts about each video and picture.
        passed_over: why other files are passed over, by their paths in the folder.
    """
    return {
        "is_dry_run": True,
        "num_files": dict(sorted(Counter(each["status"] for each in looks).items())),
        "num_frames": sum(each["num_left"] for each in looks),
        "seconds": 0.0,
        "files": list(looks),
        "passed_over": list(passed_over),
        "reasons": list(passed_over.values()),
    }


def has_left(reports: Sequence[FileReport]) -> bool:
    """Return whether a file is left for later."""
    return any(report.outcome == Outcome.LEFT for report in reports)


def check_outcomes(reports: Sequence[FileReport], stop: StoppedError | None = None) -> None:
    """Make sure that all is well with the files; if not, say what to do next.

    Args:
        reports: what became of each.
        stop: what ended the work early, if anything did.

    Raises:
        StoppedError: the work ended early.
        BatchError: some files failed, or are left.
    """
    failed = [str(report.path) for report in reports if report.outcome == Outcome.FAILED]
    num_left = sum(report.outcome == Outcome.LEFT for report in reports)
    if not (failed or num_left or stop):
        return
    what, count = [str(stop)] if stop else [], plural(len(reports), "file")
    if failed:
        what.append(f"{len(failed)} of {count} failed: {_named(failed)}.")
    if num_left:
        what.append(f"{num_left} of {count} {'is' if num_left == 1 else 'are'} left.")
    error = (type(stop) if stop else BatchError)(" ".join(what))
    if failed:
        error.add_note("The same command tries those that failed again, once what is wrong is mended.")
    if num_left:
        error.add_note("The same command continues with what is left.")
    raise error


def name_passed_over(names: Sequence[str], reason: str, *, show_all: bool = False) -> str:
    """Return a sentence on the files that are passed over; it names some of them, or all."""
    verb = "is" if len(names) == 1 else "are"
    return f"{plural(len(names), 'file')} {verb} passed over, {reason}: {_named(names, show_all=show_all)}"


def _named(names: Sequence[str], *, show_all: bool = False) -> str:
    """Return some names, or all of them, in a line."""
    named = names if show_all or len(names) <= NUM_NAMED + 1 else names[:NUM_NAMED]
    more = f" and {len(names) - len(named)} more" if len(named) < len(names) else ""
    return f"{', '.join(named)}{more}"
