"""What the user sees: messages, progress, tables, or one JSON object a line."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape

from vidx4.errors import OptionError, SourceError, Vidx4Error

if TYPE_CHECKING:
    from vidx4.diffusion.models import KnownModel
    from vidx4.jobs.batch import FileReport
    from vidx4.jobs.doctor import Finding
    from vidx4.jobs.plan import Plan
    from vidx4.jobs.preview import Preview
    from vidx4.jobs.run import OnProgress, Progress, Report
    from vidx4.video import Source

PLAIN_SECONDS = 10
"""Between two lines of progress where there is no terminal."""

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130
"""Exit codes."""


class Terminal:
    """Speaks to the user: results on standard output, the rest on standard error.

    Args:
        quiet: say only what went wrong.
        json: print events as JSON objects on standard output and nothing else.
    """

    def __init__(self, *, quiet: bool, json: bool) -> None:
        self.quiet = quiet
        self.json = json
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Turn errors meant for the user into a message and an exit code."""
        handler = self._listen()
        try:
            yield
        except Vidx4Error as error:
            self.error(str(error))
            bad_input = isinstance(error, SourceError | OptionError)
            raise typer.Exit(BAD_INPUT if bad_input else FAILED) from error
        except KeyboardInterrupt as error:
            self.error("Interrupted: what was not finished is removed.")
            raise typer.Exit(INTERRUPTED) from error
        finally:
            logging.getLogger("vidx4").removeHandler(handler)

    def _listen(self) -> logging.Handler:
        """Show what the library logs, each message once."""
        handler = _Handler(self)
        handler.addFilter(_Once())
        logger = logging.getLogger("vidx4")
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        return handler

    def event(self, event: str, **fields: Any) -> None:
        """Print an event as JSON, where that is wanted."""
        if self.json:
            print(json.dumps({"event": event, **fields}, default=str), flush=True)  # noqa: T201

    def note(self, message: str) -> None:
        """Tell something that is good to know."""
        self.event("note", message=message)
        self._say(message, quietly=False)

    def warn(self, message: str) -> None:
        """Tell of something that falls short."""
        self.event("warning", message=message)
        self._say(message, "yellow")

    def error(self, message: str) -> None:
        """Tell why it ends."""
        self.event("error", message=message)
        self._say(f"Error: {message}", "red")

    def _say(self, message: str, style: str = "", *, quietly: bool = True) -> None:
        if not self.json and (quietly or not self.quiet):
            self._console.print(escape(message), style=style)

    def plan(self, plan: "Plan") -> None:
        """Tell what will be done."""
        source = plan.source
        self.event(
            "plan",
            source=source.path,
            output=plan.output,
            num_frames=plan.num_frames,
            width=4 * source.width,
            height=4 * source.height,
        )
        sizes = f"{source.width}x{source.height} -> {4 * source.width}x{4 * source.height}"
        self._say(f"{source.path} -> {plan.output}: {plan.num_frames} frames, {sizes}", quietly=False)
        for warning in plan.warnings:
            self.warn(warning)

    def report(self, report: "Report") -> None:
        """Tell what was done."""
        for warning in report.damage:
            self.warn(warning)
        speed = f"{report.num_frames / report.seconds:.2f} fps{_reused(report.share_reused)}"
        self._say(f"{report.num_frames} frames in {_clock(report.seconds)} ({speed})", quietly=False)
        self.done(
            report.output,
            num_frames=report.num_frames,
            num_shots=report.num_shots,
            seconds=round(report.seconds, 3),
            share_reused=round(report.share_reused, 4),
        )

    def done(self, path: Path, **fields: Any) -> None:
        """Tell where a result lies."""
        self.event("done", output=path, **fields)
        if not self.json and not self.quiet:
            print(path)  # noqa: T201

    def preview(self, preview: "Preview") -> None:
        """Tell what the whole video would cost."""
        self.event("estimate", crops=preview.crops, seconds_for_whole=round(preview.seconds_for_whole, 1))
        if not self.json and not self.quiet:
            print(preview.crops)  # noqa: T201
        self._say(
            f"At this speed the whole video takes about {_clock(preview.seconds_for_whole)}.", quietly=False
        )

    def file(self, report: "FileReport") -> None:
        """Tell what became of one file of a folder."""
        self.event("file", **asdict(report))
        if report.message:
            names_file = str(report.path) in report.message
            self.warn(report.message if names_file else f"{report.path}: {report.message}")

    def folder(self, reports: Sequence["FileReport"]) -> None:
        """Show what became of a folder, and fail if any file did."""
        rows = [[r.outcome.value, str(r.path), str(r.output or ""), r.message] for r in reports]
        if not self.json and not self.quiet:
            self._table(["", "source", "output", ""], rows)
        if any(report.outcome == "failed" for report in reports):
            raise typer.Exit(FAILED)

    def source(self, source: "Source") -> None:
        """Show what a file holds."""
        facts = _facts(source)
        if self.json:
            print(json.dumps(facts, default=str))  # noqa: T201
            return
        streams = facts.pop("streams")
        self._table(["", ""], [[key.replace("_", " "), str(value)] for key, value in facts.items()])
        self._table(list(streams[0]), [[str(value) for value in stream.values()] for stream in streams])

    def models(self, models: Sequence["KnownModel"]) -> None:
        """Show the known models."""
        if self.json:
            print(json.dumps([asdict(model) for model in models], default=str))  # noqa: T201
            return
        rows = [
            [m.name, m.description, f"{m.size / 1e6:.1f} MB" if m.size else "", str(m.folder or m.advice)]
            for m in models
        ]
        self._table(["model", "what", "size", "where"], rows)

    def findings(self, findings: Sequence["Finding"]) -> None:
        """Show what of this machine is fine and what is not."""
        if self.json:
            print(json.dumps([asdict(finding) for finding in findings]))  # noqa: T201
            return
        rows = [
            ["ok" if f.is_fine else "--", f.subject, f.message, "" if f.is_fine else f.advice]
            for f in findings
        ]
        self._table(["", "", "", "what to do"], rows)

    def _table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        from rich.table import Table

        table = Table(box=None, show_header=any(header), pad_edge=False)
        for title in header:
            table.add_column(title, overflow="fold")
        for row in rows:
            table.add_row(*(escape(cell) for cell in row))
        Console(highlight=False).print(table)

    @contextmanager
    def progress(self, what: str) -> Iterator["OnProgress"]:
        """Show how far a job is, in the way that suits where the output goes."""
        if self.json:
            yield self._progress_event
        elif self.quiet:
            yield lambda _: None
        elif self._console.is_terminal:
            yield from self._bar(what)
        else:
            yield _PlainProgress(lambda line: self._say(f"{what}: {line}"))

    def _progress_event(self, progress: "Progress") -> None:
        self.event(
            "progress",
            num_done=progress.num_done,
            num_frames=progress.num_frames,
            seconds_left=round(progress.seconds_left, 1),
            share_reused=round(progress.share_reused, 4),
        )

    def _bar(self, what: str) -> Iterator["OnProgress"]:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar

        left, right = TextColumn("{task.description}"), TextColumn("{task.fields[speed]}")
        columns = (left, BarColumn(), MofNCompleteColumn(), right)
        with Bar(*columns, console=self._console) as bar:
            task = bar.add_task(escape(what), total=None, speed="")

            def update(progress: "Progress") -> None:
                bar.update(
                    task, total=progress.num_frames, completed=progress.num_done, speed=_speed(progress)
                )

            yield update


class _PlainProgress:
    """A line every few seconds."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._last = time.monotonic()

    def __call__(self, progress: "Progress") -> None:
        if time.monotonic() - self._last >= PLAIN_SECONDS:
            self._last = time.monotonic()
            self._say(f"{progress.num_done} of {progress.num_frames} frames, {_speed(progress)}")


class _Handler(logging.Handler):
    def __init__(self, terminal: Terminal) -> None:
        super().__init__()
        self._terminal = terminal

    def emit(self, record: logging.LogRecord) -> None:
        say = self._terminal.warn if record.levelno >= logging.WARNING else self._terminal.note
        say(self.format(record))


class _Once(logging.Filter):
    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        is_new = message not in self._said
        self._said.add(message)
        return is_new


def _speed(progress: "Progress") -> str:
    reused = _reused(progress.share_reused)
    return f"{1 / progress.seconds_per_frame:.2f} fps, {_clock(progress.seconds_left)} left{reused}"


def _reused(share: float) -> str:
    return f", {share:.0%} reused" if share >= 0.005 else ""


def _clock(seconds: float) -> str:
    """Write a duration as 3.2 s, 4:05 or 1:02:03."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _facts(source: "Source") -> dict[str, Any]:
    color = source.color
    return {
        "path": source.path,
        "container": source.container,
        "size": f"{source.width}x{source.height}",
        "sample_aspect_ratio": source.sample_aspect_ratio,
        "rotation": source.rotation,
        "num_frames": source.num_frames,
        "duration": f"{float(source.duration):.3f} s",
        "frame_rate": f"{float(source.frame_rate):.3f} fps" if source.frame_rate else None,
        "is_constant_rate": source.is_constant_rate,
        "time_base": source.time_base,
        "first_pts": source.pts[0],
        "bit_depth": source.bit_depth,
        "color": f"matrix {color.matrix}, primaries {color.primaries}, transfer {color.transfer}",
        "full_range": color.full_range,
        "is_interlaced": source.is_interlaced,
        "streams": [asdict(stream) for stream in source.streams],
    }
