"""What the user sees of a folder: the plan, progress, and the outcome of each file."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from vidx4.cli.progress_bar import PlainProgress, bars, describe, stoppable
from vidx4.cli.terminal import FAILED, Terminal
from vidx4.diffusion.options import describe_level
from vidx4.errors import BatchError, StoppedError
from vidx4.jobs.folder.reports import Outcome, check_outcomes, name_passed_over
from vidx4.jobs.schedule import ScheduleOptions
from vidx4.jobs.stop import Stop
from vidx4.printing import printable
from vidx4.syntax import format_disk, format_seconds, plural

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import TaskID

    from vidx4.jobs.estimate import Estimate
    from vidx4.jobs.folder.item import Item
    from vidx4.jobs.folder.reports import FileReport
    from vidx4.jobs.folder.tally import Total
    from vidx4.jobs.part_record import Part
    from vidx4.jobs.progress import Progress


LOOK_SECONDS = 3
"""Seconds after which it is told how many files were looked at, again and again."""


class BatchView:
    """Shows a batch on a terminal, on a pipe, or as JSON events that name their file.

    Args:
        terminal: prints it.
    """

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._show: Callable[[Item, Progress, Total], None] = lambda *_: None
        self._hide: Callable[[FileReport], None] = lambda _: None
        self._show_looks: Callable[[Callable[[], str]], None] = PlainProgress(
            terminal.note, LOOK_SECONDS
        ).show
        self.reasons: dict[str, str] = {}
        """Why files were passed over, by their paths in the folder."""

    @contextmanager
    def display(self, schedule: ScheduleOptions, begun: float) -> Iterator[Stop]:
        """Show progress, and give what stops the batch: the user, or the end of its time.

        Args:
            schedule: how long the batch may last.
            begun: when it began, in seconds since 1970.
        """
        terminal, stop = self._terminal, Stop()
        with stoppable(stop, quiet=terminal.quiet or terminal.json), schedule.limiting(stop, begun):
            if terminal.json:
                self._show = self._progress_event
            elif terminal.console.is_terminal and not terminal.quiet:
                with self._bars():
                    yield stop
                return
            elif not terminal.quiet:
                plain = PlainProgress(terminal.say)
                self._show = lambda item, progress, total: plain.show(
                    lambda: f"{_overall(total)} · {item.path}: {describe(progress)}"
                )
            yield stop

    def passed_over(self, reasons: Mapping[str, str]) -> None:
        """Show which files are passed over, and why."""
        self.reasons |= reasons
        if reasons:
            self._terminal.event("passed_over", files=list(reasons), reasons=list(reasons.values()))
        for reason in sorted({*reasons.values()}):
            names = [name for name, why in reasons.items() if why == reason]
            self._terminal.tell(name_passed_over(names, reason, show_all=self._terminal.verbose))

    def looking(self, num_done: int, num_files: int) -> None:
        """Show how many files were looked at so far."""
        if num_done:
            self._show_looks(lambda: f"looking at {num_done} of {num_files} files")

    def waiting(self, message: str) -> None:
        """Show what the batch waits for."""
        self._terminal.note(message)

    def planned(self, looks: "Sequence[Item | FileReport]") -> None:
        """Show how much there is to do."""
        facts = [look.facts() for look in looks]
        self._terminal.event("plan", files=facts)
        counts = Counter(fact["status"] for fact in facts)
        frames = sum(fact["num_left"] for fact in facts)
        statuses = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        self._terminal.tell(f"{plural(len(facts), 'file')}: {statuses}; {plural(frames, 'frame')} to enlarge")

    def begun(self, item: "Item", number: int, num_files: int) -> None:
        """Show which file is next."""
        frames = f", {plural(item.num_left, 'frame')}" if item.plan else ""
        self._terminal.tell(f"file {number} of {num_files}: {item.path} -> {item.output}{frames}")

    def estimated(self, item: "Item", estimate: "Estimate", total: "Total") -> None:
        """Show what all files take."""
        self._terminal.event(
            "estimate",
            file=str(item.path),
            **asdict(estimate),
            seconds_left=estimate.seconds_left,
            seconds_left_of_all=total.seconds_left,
        )
        each = f"{estimate.seconds_per_frame:.3g} s a frame of this size, {estimate.basis}"
        self._terminal.tell(
            f"all files take about {format_seconds(total.seconds_left)}: {each}; this one gets about "
            f"{format_disk(estimate.output_size)}"
        )
        for alternative in estimate.alternatives:
            self._terminal.fact("or", str(alternative))

    def progressed(self, item: "Item", progress: "Progress", total: "Total") -> None:
        """Show the progress of a file and of all files."""
        self._show(item, progress, total)

    def part_made(self, item: "Item", part: "Part") -> None:
        """Report that a part is finished."""
        self._terminal.event("part", file=str(item.path), **asdict(part))

    def reported(self, report: "FileReport") -> None:
        """Report the outcome of one file."""
        self._hide(report)
        self._terminal.event("file", **asdict(report))
        if report.message and report.outcome != "skipped":
            names_file = str(report.path) in report.message
            self._terminal.say(report.message if names_file else f"{report.path}: {report.message}", "yellow")
        if level := describe_level(report.noise_level, report.estimated_noise_level):
            self._terminal.tell(f"{report.path}: noise level {level}")

    def _progress_event(self, item: "Item", progress: "Progress", total: "Total") -> None:
        self._terminal.progress_event(progress, file=str(item.path), **total.facts())

    @contextmanager
    def _bars(self) -> Iterator[None]:
        """Show a line for all files, and below it one for each file in progress."""
        with bars(self._terminal.console) as shown:
            whole = shown.add_task("all files", total=1.0, state="")
            files: dict[Path, TaskID] = {}
            self._show_looks = lambda line: shown.update(whole, state=line())

            def show(item: "Item", progress: "Progress", total: "Total") -> None:
                shown.update(whole, completed=total.share_done, state=_overall(total))
                if item.path not in files:
                    name = printable(item.path.name)
                    files[item.path] = shown.add_task(name, total=progress.num_frames, state="")
                shown.update(files[item.path], completed=progress.num_done, state=describe(progress))

            def hide(report: "FileReport") -> None:
                if report.path in files:
                    shown.remove_task(files.pop(report.path))

            self._show, self._hide = show, hide
            yield


def _overall(total: "Total") -> str:
    left = format_seconds(total.seconds_left)
    return f"file {total.number} of {total.num_files} · {total.share_done:.0%} of all · {left} left"


def show_trial(terminal: Terminal, looks: "Sequence[Item | FileReport]") -> None:
    """Show what a batch would do; fail if a file can't be enlarged."""
    facts = [look.facts() for look in looks]
    terminal.event("plan", files=facts)
    num_failed = sum(fact["status"] == "failed" for fact in facts)
    terminal.finished(FAILED if num_failed else 0, is_dry_run=True, failed=num_failed)
    if not terminal.quiet:
        rows = [[fact[key] for key in ("status", "path", "frames", "output", "notes")] for fact in facts]
        terminal.table(["", "source", "frames", "output", ""], rows)
    left = plural(sum(fact["num_left"] for fact in facts), "frame")
    terminal.tell(f"{plural(len(facts), 'file')}, {left} to enlarge. This was a dry run: nothing is written.")
    if num_failed:
        raise typer.Exit(FAILED)


def show_reports(
    terminal: Terminal,
    reports: "Sequence[FileReport]",
    num_passed_over: int = 0,
    stop: "StoppedError | None" = None,
) -> None:
    """Show the outcomes of all files, and what to do next; fail if one failed or is left.

    Args:
        terminal: shows them.
        reports: the outcomes; files of which nothing was to be done are listed only with --verbose.
        num_passed_over: number of files that are neither videos nor pictures.
        stop: what ended the work early, if anything did.

    Raises:
        StoppedError: the batch was stopped.
    """
    shown = [r for r in reports if r.outcome != "skipped" or r.message or terminal.verbose]
    if shown and not terminal.quiet:
        rows = [[r.outcome.value, str(r.path), str(r.output or ""), r.message] for r in shown]
        terminal.table(["", "source", "output", ""], rows)
    counts = Counter({each.value: 0 for each in Outcome})
    counts.update(report.outcome.value for report in reports)
    counts["passed_over"] = num_passed_over
    text = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()) if count)
    terminal.tell(text.replace("_", " "))
    try:
        check_outcomes(reports, stop)
    except BatchError as error:
        message = " ".join([str(error), *error.__notes__])
        terminal.finished(FAILED, message=message, **counts)
        terminal.say(message, "red")
        raise typer.Exit(FAILED) from error
    terminal.finished(**counts)
