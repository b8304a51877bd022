"""The report of a finished job."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidx4.files.write import write_whole
from vidx4.jobs.progress import StageSeconds, WorkerStats


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
    """Noise level that all frames were restored at."""
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

    @property
    def frames_per_second(self) -> float:
        """Frames that this run enlarged per second."""
        return self.num_new / self.seconds

    def facts(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return asdict(self) | {"output": str(self.output), "frames_per_second": self.frames_per_second}


def write_report(path: Path, facts: dict[str, Any]) -> None:
    """Write a report as JSON; an existing file is replaced.

    Raises:
        OutputError: the file can't be written.
    """
    with write_whole(path) as unfinished:
        unfinished.write_text(json.dumps(facts, indent=1, default=str) + "\n")
