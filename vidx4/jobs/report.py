"""What a job did."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidx4.jobs.progress import StageSeconds, WorkerStats
from vidx4.media.atomic import write_whole


@dataclass(frozen=True)
class Report:
    """What a job did."""

    output: Path
    num_frames: int
    """That the output holds."""
    num_new: int
    """Of them, those that this run enlarged: others were there already."""
    num_parts: int
    seconds: float
    seconds_per_frame: float
    """Of this run, for a frame whose result was not there already."""
    share_reused: float
    """Of this run's work, what was not done again, since its result was there."""
    num_shots: int
    stages: StageSeconds
    peak_memory: int
    """Of the process and on the GPU, in bytes."""
    workers: Mapping[str, WorkerStats]
    """What each worker has done, by its name; empty where this process has done all."""
    warnings: tuple[str, ...]
    """What the plan gave up, known before the work."""
    damage: tuple[str, ...]
    """What could not be decoded."""

    @property
    def frames_per_second(self) -> float:
        """Of this run."""
        return self.num_new / self.seconds

    def facts(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return asdict(self) | {"output": str(self.output), "frames_per_second": self.frames_per_second}


def write_report(path: Path, facts: dict[str, Any]) -> None:
    """Write a report as JSON; a file that is there is replaced.

    Raises:
        OutputError: the file can't be written.
    """
    with write_whole(path) as unfinished:
        unfinished.write_text(json.dumps(facts, indent=1, default=str) + "\n")
