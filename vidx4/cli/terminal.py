"""What the user sees: messages, progress, tables, or one JSON object a line."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape

from vidx4.cli.progress_bar import INTERRUPTED, PlainProgress, bar, clock, disk, mebibytes, reused, stoppable
from vidx4.errors import OptionError, SourceError, StoppedError, Vidx4Error

if TYPE_CHECKING:
    from vidx4.cli.progress_bar import OnProgress
    from vidx4.diffusion.models.registry import KnownModel
    from vidx4.jobs.doctor import Finding
    from vidx4.jobs.estimate import Estimate
    from vidx4.jobs.job import Job
    from vidx4.jobs.plan import Plan
    from vidx4.jobs.preview.run import Preview, PreviewPlan
    from vidx4.jobs.progress import Control, Progress
    from vidx4.jobs.report import Report
    from vidx4.jobs.work_folder import Part
    from vidx4.media.checks import Check
    from vidx4.video import Source, StreamInfo

BAD_INPUT, FAILED = 2, 1
"""Exit codes."""


class Terminal:
    """Speaks to the user: results on standard output, the rest on standard error.

    Args:
        quiet: say only what went wrong.
        json: print events as JSON objects on standard output and nothing else.
        command: what the user typed, to be typed again where work can go on.
    """

    def __init__(self, *, quiet: bool, json: bool, command: str = "vidx4") -> None:
        self.quiet = quiet
        self.json = json
        self.command = command
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Turn errors meant for the user into a message and an exit code."""
        handler = self._listen()
        try:
            yield
        except Vidx4Error as error:
            self.failure(error)
            raise typer.Exit(_exit_code(error)) from error
        except KeyboardInterrupt as error:
            self.error("Interrupted.")
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
        self.say(message, quietly=False)

    def warn(self, message: str) -> None:
        """Tell of something that falls short."""
        self.event("warning", message=message)
        self.say(message, "yellow")

    def failure(self, error: Vidx4Error) -> None:
        """Tell why it ends and, where that is possible, how it goes on."""
        notes = getattr(error, "__notes__", [])
        self.error(" ".join([str(error), *notes]), **({"command": self.command} if notes else {}))
        if notes:
            self.say(f"Go on with: {self.command}")

    def error(self, message: str, **fields: Any) -> None:
        """Tell why it ends."""
        self.event("error", message=message, **fields)
        self.say(f"Error: {message}", "red")

    def say(self, message: str, style: str = "", *, quietly: bool = True) -> None:
        """Print a line for people; `quietly` tells if it is of what went wrong, which is always printed."""
        if not self.json and (quietly or not self.quiet):
            self.console.print(escape(printable(message)), style=style)

    def plan(self, plan: "Plan") -> None:
        """Tell what will be done."""
        source, target, streams = plan.source, plan.written.target, plan.written.streams
        width, height, encoder = target.width, target.height, target.encoder
        kept = [carried.stream for carried in streams.carried]
        self.event(
            "plan",
            source=source.path,
            output=plan.output,
            num_frames=plan.num_frames,
            seconds=plan.seconds,
            width=width,
            height=height,
            codec=encoder.encoder,
            pixel_format=encoder.pix_fmt,
            fields=source.fields.value,
            kept=[asdict(stream) for stream in kept],
            lost=[asdict(stream) for stream, _ in streams.lost],
        )
        rate = f", {float(source.frame_rate):.5g} fps" if source.frame_rate else ""
        what = f"{source.width}x{source.height}, {plan.num_frames} frames, {clock(plan.seconds)}{rate}"
        self._fact("source", f"{source.path}: {what}")
        self._fact(
            "output",
            f"{plan.output}: {width}x{height}, {encoder.encoder} {encoder.pix_fmt}, with {_named(kept)}",
        )
        for warning in plan.warnings:
            self.warn(warning)

    def estimate(self, estimate: "Estimate", job: "Job") -> None:
        """Tell what it will take."""
        self.event(
            "estimate",
            **asdict(estimate),
            seconds_left=estimate.seconds_left,
            batch_size=job.batch_size,
            tile_size=job.identity.get("tile-size"),
        )
        tiles = job.identity.get("tile-size")
        cut = f"tiles of {tiles}" if tiles else "no tiles"
        self._fact("memory", f"{mebibytes(estimate.memory)} in batches of {job.batch_size}, {cut}")
        size, needed, free = map(disk, (estimate.output_size, estimate.disk_needed, estimate.disk_free))
        self._fact("disk", f"about {size}, {needed} until all is done; {free} are free")
        each = f"{estimate.seconds_per_frame:.3g} s a frame"
        self._fact("time", f"about {clock(estimate.seconds_left)}: {each}, {estimate.basis}")

    def _fact(self, name: str, text: str) -> None:
        self.say(f"{name:8}{text}", quietly=False)

    def trial(self, plan: "Plan") -> None:
        """Tell what is left of a dry run."""
        self.say(
            f"The frames that this was measured on are kept in {plan.work_folder} for the run.", quietly=False
        )

    def report(self, report: "Report") -> None:
        """Tell what was done."""
        for warning in report.damage:
            self.warn(warning)
        earlier = report.num_frames - report.num_new
        speed = f"{report.frames_per_second:.2f} fps{reused(report.share_reused)}"
        self.say(
            f"{report.num_frames} frames{f', {earlier} of them by an earlier run,' if earlier else ''} in "
            f"{clock(report.seconds)} ({speed}), at most {mebibytes(report.peak_memory)}",
            quietly=False,
        )
        stages = ", ".join(f"{name} {clock(seconds)}" for name, seconds in asdict(report.stages).items())
        self.say(stages, quietly=False)
        for name, share in report.workers.items():
            took = f"{share.num_frames} frames, model {clock(share.model_seconds)}"
            self.say(f"{name}: {took}, at most {mebibytes(share.peak_memory)}", quietly=False)
        self.done(**report.facts())

    def done(self, output: str | Path, **fields: Any) -> None:
        """Tell where a result lies."""
        self.event("done", output=output, **fields)
        if not self.json and not self.quiet:
            print(output)  # noqa: T201

    def preview_plan(self, plan: "PreviewPlan") -> None:
        """Tell what will be shown."""
        source, labels = plan.scenes.source, [choice.label for choice in plan.choices]
        moments = [float(span.start or 0) for span in plan.scenes.spans]
        self.event(
            "plan",
            source=source.path,
            outputs=plan.videos,
            num_frames=plan.num_frames,
            moments=moments,
            settings=labels,
        )
        self._fact("source", f"{source.path}: {source.width}x{source.height}, {source.num_frames} frames")
        settings = f", {len(labels)} settings" if len(labels) > 1 else ""
        self._fact("shown", f"from {', '.join(map(clock, moments))}: {plan.num_frames} frames{settings}")

    def preview(self, preview: "Preview") -> None:
        """Tell what was made, and what the whole video would cost."""
        costs = [asdict(cost) for cost in preview.costs]
        self.event("done", outputs=preview.videos, crops=preview.crops, page=preview.page, costs=costs)
        if not self.json and not self.quiet:
            for path in filter(None, (*preview.videos, preview.crops, preview.page)):
                print(path)  # noqa: T201
        for cost in preview.costs:
            label = f"With {cost.label}" if cost.label else "So"
            each = f"{cost.seconds_per_frame:.3g} s a frame"
            self.say(
                f"{label}, the whole video takes about {clock(cost.seconds_for_whole)} ({each}).",
                quietly=False,
            )

    def source(self, source: "Source") -> None:
        """Show what a file holds."""
        facts = _facts(source)
        if self.json:
            print(json.dumps(facts, default=str))  # noqa: T201
            return
        streams = facts.pop("streams")
        self.table(["", ""], [[key.replace("_", " "), str(value)] for key, value in facts.items()])
        self.table(list(streams[0]), [[str(value) for value in stream.values()] for stream in streams])

    def checks(self, checks: Sequence["Check"]) -> None:
        """Show what of a video was kept; fail if anything was lost."""
        lost = [check for check in checks if not check.is_kept]
        for check in checks:
            self.event("check", **asdict(check))
        self.event("done", num_checks=len(checks), num_lost=len(lost))
        if not self.json and not self.quiet:
            rows = [["ok" if c.is_kept else "LOST", c.subject, c.expected, c.found] for c in checks]
            self.table(["", "what", "expected", "found"], rows)
        if lost:
            subjects = ", ".join(dict.fromkeys(check.subject for check in lost))
            self.error(f"{len(lost)} of {len(checks)} checks fail: {subjects}.")
            raise typer.Exit(FAILED)
        self.say(f"All {len(checks)} checks hold.", quietly=False)

    def models(self, models: Sequence["KnownModel"]) -> None:
        """Show the known models."""
        if self.json:
            print(json.dumps([asdict(model) for model in models], default=str))  # noqa: T201
            return
        rows = [
            [m.name, m.description, f"{m.size / 1e6:.1f} MB" if m.size else "", str(m.folder or m.advice)]
            for m in models
        ]
        self.table(["model", "what", "size", "where"], rows)

    def findings(self, findings: Sequence["Finding"]) -> None:
        """Show what of this machine is fine and what is not."""
        if self.json:
            print(json.dumps([asdict(finding) for finding in findings]))  # noqa: T201
            return
        rows = [
            ["ok" if f.is_fine else "--", f.subject, f.message, "" if f.is_fine else f.advice]
            for f in findings
        ]
        self.table(["", "", "", "what to do"], rows)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table on standard output."""
        from rich.table import Table

        table = Table(box=None, show_header=any(header), pad_edge=False)
        for title in header:
            table.add_column(title, overflow="fold")
        for row in rows:
            table.add_row(*(escape(printable(cell)) for cell in row))
        Console(highlight=False).print(table)

    @contextmanager
    def working(self, what: str) -> Iterator["Control"]:
        """Show how far a job is, and let the user stop it."""
        from vidx4.jobs.progress import Control

        with self._progress(what) as on_progress:
            control = Control(on_progress, self._part)
            with stoppable(control.stop, quiet=self.quiet or self.json):
                yield control

    @contextmanager
    def _progress(self, what: str) -> Iterator["OnProgress"]:
        """Show progress in the way that suits where the output goes."""
        if self.json:
            yield self.progress_event
        elif self.quiet:
            yield lambda _: None
        elif self.console.is_terminal:
            with bar(self.console, what) as on_progress:
                yield on_progress
        else:
            yield PlainProgress(lambda line: self.say(f"{what}: {line}"))

    def progress_event(self, progress: "Progress", **fields: Any) -> None:
        """Tell how far a job is, as JSON."""
        self.event(
            "progress",
            **fields,
            num_done=progress.num_done,
            num_frames=progress.num_frames,
            frames_per_second=round(1 / progress.seconds_per_frame, 4),
            seconds_left=round(progress.seconds_left, 1),
            share_reused=round(progress.share_reused, 4),
            memory=progress.memory,
            num_shots=progress.num_shots,
            shot_seconds=round(progress.shot_seconds, 3),
        )

    def _part(self, part: "Part") -> None:
        self.event("part", **asdict(part))


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


def printable(text: str) -> str:
    """Return a text in one line; a file's name may hold line breaks, and bytes that are no text."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _exit_code(error: Vidx4Error) -> int:
    match error:
        case StoppedError():
            return INTERRUPTED
        case SourceError() | OptionError():
            return BAD_INPUT
    return FAILED


def _named(streams: Sequence["StreamInfo"]) -> str:
    names = (" ".join(filter(None, (stream.codec or stream.kind, stream.language))) for stream in streams)
    return ", ".join(names) or "no other stream"


def _facts(source: "Source") -> dict[str, Any]:
    color = source.color
    return {
        "path": source.path,
        "container": source.container,
        "video_stream": source.video_index,
        "size": f"{source.width}x{source.height}",
        "sample_aspect_ratio": source.sample_aspect_ratio,
        "rotation": source.rotation,
        "margins": " ".join(f"{side} {width}" for side, width in asdict(source.margins).items() if width)
        or "none",
        "num_frames": source.num_frames,
        "duration": f"{float(source.duration):.3f} s",
        "frame_rate": f"{float(source.frame_rate):.3f} fps" if source.frame_rate else None,
        "is_constant_rate": source.is_constant_rate,
        "time_base": source.time_base,
        "first_pts": source.pts[0],
        "pixel_format": source.pix_fmt,
        "bit_depth": source.bit_depth,
        "color": f"matrix {color.matrix}, primaries {color.primaries}, transfer {color.transfer}",
        "full_range": color.full_range,
        "chroma_location": color.chroma_location,
        "hdr_metadata": _hdr(source),
        "is_interlaced": source.is_interlaced,
        "fields": source.fields.value,
        "streams": [asdict(stream) for stream in source.streams],
    }


def _hdr(source: "Source") -> str:
    static = {"mastering display": source.hdr.mastering_display, "content light": source.hdr.content_light}
    return ", ".join([*(name for name, value in static.items() if value), *source.hdr.dropped]) or "none"
