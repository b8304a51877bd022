"""Who is notified of the events of a batch."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from vidx4.jobs.estimate import Estimate
from vidx4.jobs.folder.item import Item
from vidx4.jobs.folder.reports import FileReport
from vidx4.jobs.folder.tally import Total
from vidx4.jobs.part_record import Part
from vidx4.jobs.progress import Progress


class Observer(Protocol):
    """Is notified of the events of a batch, by one thread at a time."""

    def passed_over(self, reasons: Mapping[str, str]) -> None:
        """Receive why files are passed over, by their paths in the folder; maybe none."""

    def looking(self, num_done: int, num_files: int) -> None:
        """Receive how many files were looked at so far."""

    def waiting(self, message: str) -> None:
        """Receive in a sentence what the batch waits for."""

    def planned(self, looks: Sequence[Item | FileReport]) -> None:
        """Receive what is left to do of each file."""

    def begun(self, item: Item, number: int, num_files: int) -> None:
        """Receive the file that starts now."""

    def estimated(self, item: Item, estimate: Estimate, total: Total) -> None:
        """Receive what the first file takes and, at its speed, all files."""

    def progressed(self, item: Item, progress: Progress, total: Total) -> None:
        """Receive the progress of a file and of all files."""

    def part_made(self, item: Item, part: Part) -> None:
        """Receive a part of a file that is finished."""

    def reported(self, report: FileReport) -> None:
        """Receive what became of a file."""
