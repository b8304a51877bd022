"""What the user sees of files, models and this machine: tables."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from vidx4.appearance import color_name
from vidx4.cli.terminal import FAILED, Terminal
from vidx4.syntax import format_rate, format_seconds, plural

if TYPE_CHECKING:
    from vidx4.diffusion.models.folder_listing import ListedModel
    from vidx4.diffusion.models.known import KnownModel
    from vidx4.jobs.doctor import Finding
    from vidx4.media.checks import Check
    from vidx4.video import Source, StreamInfo


def show_source(terminal: Terminal, source: "Source") -> None:
    """Show what a file holds."""
    terminal.event("source", **source.facts())
    rows = [*_of_file(source), *_of_picture(source), *_of_colors(source)]
    rows += [(f"stream {stream.index}", _described(stream)) for stream in source.streams]
    terminal.table(["", ""], [row for row in rows if row[1]])
    terminal.finished()


def _of_file(source: "Source") -> Iterator[tuple[str, str]]:
    yield "file", str(source.path)
    yield "container", source.container.replace(",", ", ")
    yield "length", f"{format_seconds(float(source.duration))}, {plural(source.num_frames, 'frame')}"
    steadiness = "constant" if source.is_constant_rate else "varies"
    yield "frame rate", f"{format_rate(source.frame_rate)}, {steadiness}" if source.frame_rate else "none"
    yield "time base", f"{source.time_base} s, first timestamp {source.pts[0]}"


def _of_picture(source: "Source") -> Iterator[tuple[str, str]]:
    ratio, margins = source.sample_aspect_ratio, asdict(source.margins)
    pixels = "square pixels" if ratio == 1 else f"pixels {ratio.numerator}:{ratio.denominator}"
    yield "picture", f"{source.width}x{source.height}, {pixels}, of stream {source.video_index}"
    yield "rotation", f"{source.rotation} degrees counter-clockwise" if source.rotation else ""
    yield "cropped", ", ".join(f"{each} {width}" for each, width in margins.items() if width)
    yield (
        "fields",
        "interlaced, as the headers say" if source.is_interlaced else "none: frames are progressive",
    )
    yield "captions", "closed captions in the frames" if source.has_captions else ""
    yield "360 degrees", source.sphere.projection.name.lower().replace("_", " ") if source.sphere else ""
    yield "3D", source.stereo.layout.name.lower().replace("_", " ") if source.stereo else ""


def _of_colors(source: "Source") -> Iterator[tuple[str, str]]:
    color, hdr = source.color, source.hdr
    yield "pixels", f"{source.pix_fmt}, {source.bit_depth} bits per colour"
    for name in ("matrix", "primaries", "transfer"):
        yield name, color_name(name, getattr(color, name))
    yield "range", "full" if color.full_range else "limited"
    yield "chroma", color_name("chroma location", color.chroma_location) if color.chroma_location else ""
    static = {"mastering display": hdr.mastering_display, "content light": hdr.content_light}
    yield "HDR", ", ".join([*(name for name, value in static.items() if value), *hdr.dropped])


def _described(stream: "StreamInfo") -> str:
    marks = {
        "default": stream.is_default,
        "cover picture": stream.is_cover,
        "encrypted": stream.is_protected,
        "empty": stream.is_empty,
    }
    title = f'"{stream.title}"' if stream.title else ""
    facts = (stream.kind, stream.codec, stream.details, stream.language, title)
    return ", ".join([*filter(None, facts), *(name for name, is_so in marks.items() if is_so)])


def show_checks(terminal: Terminal, checks: "Sequence[Check]") -> None:
    """Show what an enlarged copy kept; fail if it lost anything."""
    lost = [check for check in checks if not check.is_kept]
    for check in checks:
        terminal.event("check", **asdict(check))
    terminal.finished(FAILED if lost else 0, num_checks=len(checks), num_lost=len(lost))
    if not terminal.quiet:
        rows = [["ok" if c.is_kept else "LOST", c.subject, c.expected, c.found] for c in checks]
        terminal.table(["", "what", "expected", "found"], rows)
    if lost:
        subjects = ", ".join(dict.fromkeys(check.subject for check in lost))
        terminal.say(f"Error: {len(lost)} of {plural(len(checks), 'check')} failed: {subjects}.", "red")
        raise typer.Exit(FAILED)
    terminal.tell(f"All {plural(len(checks), 'check')} passed.")


def show_models(terminal: Terminal, kind: str, models: "Sequence[KnownModel | ListedModel]") -> None:
    """Show models, each of which is an event of a kind."""
    for model in models:
        terminal.event(kind, **asdict(model))
    terminal.table(models[0].COLUMNS if models else [""], [m.cells for m in models] or [["No models here."]])
    terminal.finished(num_models=len(models))


def show_findings(terminal: Terminal, findings: "Sequence[Finding]") -> None:
    """Show what is fine on this machine, and what is not."""
    for finding in findings:
        terminal.event("finding", **asdict(finding))
    rows = [["ok" if f.is_fine else "--", f.subject, f.message, f.advice] for f in findings]
    terminal.table(["", "", "", "what to do"], rows)
    terminal.finished(num_findings=len(findings), num_not_fine=sum(not each.is_fine for each in findings))
