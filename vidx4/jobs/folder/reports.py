"""What became of the files of a folder."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class Outcome(StrEnum):
    """What became of a file."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    LEFT = "left"
    """Left for later: it was still being written, or the batch was stopped."""


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
