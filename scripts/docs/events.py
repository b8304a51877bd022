"""The objects that `--json` and `--report` write, taken from the classes that they are made of."""

import json
from dataclasses import dataclass, replace

from scripts.docs.fields import Field, Schema, fields_of, object_schema, schema_of, type_name
from scripts.docs.markdown import cell, code, table
from vidx4.cli.terminal import EVENTS_VERSION
from vidx4.diffusion.models.registry import KnownModel
from vidx4.jobs.doctor import Finding
from vidx4.jobs.estimate import Estimate
from vidx4.jobs.folder.reports import FileReport, Outcome
from vidx4.jobs.part_record import Part
from vidx4.jobs.preview.run import Cost
from vidx4.jobs.progress import Progress, StageSeconds, WorkerStats
from vidx4.jobs.report import Report
from vidx4.media.checks import Check
from vidx4.video import Fields, StreamInfo

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_VERSION = "Version of this format. Only the first event has it."


@dataclass(frozen=True)
class Event:
    """An event, or an object that is written alone."""

    kind: str
    """Value of `event`."""
    of: str
    """The commands that print it, if other commands print it with other fields."""
    when: str
    fields: tuple[Field, ...]


def _text(name: str, description: str, *, is_required: bool = True) -> Field:
    return Field(name, {"type": "string"}, description, is_required)


def _count(name: str, description: str) -> Field:
    return Field(name, {"type": "integer"}, description)


def _number(name: str, description: str) -> Field:
    return Field(name, {"type": "number"}, description)


def _list(name: str, item: Schema, description: str) -> Field:
    return Field(name, {"type": "array", "items": item}, description)


def _optional(*fields: Field) -> tuple[Field, ...]:
    return tuple(replace(each, is_required=False) for each in fields)


_STRING = {"type": "string"}
_FILE = _optional(_text("file", "`batch` only: path of the source that the event is about."))
_LOOK = object_schema(
    [
        _text("path", "Path of the source."),
        _text("output", "Path of the output; empty if it is not known."),
        _text("status", "`to do`, `resumes`, or an outcome that is known already."),
        _count("num_left", "Frames left to make."),
        _count("num_kept", "Frames that an earlier run has made."),
        _text("frames", "The same for people."),
        _text("notes", "Options that differ from the defaults, or why the file is skipped or fails."),
    ]
)
_ALL_FILES = _optional(_number("seconds_left_of_all", "`batch` only: seconds left for all files."))
_BATCH_PROGRESS = _optional(
    _count("number", "`batch` only: number of the file, counted from 1."),
    _count("num_files", "`batch` only: number of files."),
    _number("share_done_of_all", "`batch` only: share of the work on all files that is done, by pixels."),
)

EVENTS = (
    Event(
        "plan",
        "upscale",
        "Before the work.",
        (
            _text("source", "Path of the source."),
            _text("output", "Path of the output."),
            _count("num_frames", "Number of frames that are enlarged."),
            _number("seconds", "Length of that part of the source."),
            _count("width", "Width of the output in pixels."),
            _count("height", "Height of the output in pixels."),
            _text("codec", "FFmpeg's name of the encoder."),
            _text("pixel_format", "FFmpeg's name of the pixel format."),
            Field("fields", schema_of(Fields), "How fields are treated."),
            _list("kept", schema_of(StreamInfo), "Other streams that the output holds."),
            _list("lost", schema_of(StreamInfo), "Other streams that it does not hold."),
        ),
    ),
    Event(
        "plan",
        "preview",
        "Before the work.",
        (
            _text("source", "Path of the source."),
            _list("outputs", _STRING, "Paths of the videos."),
            _count("num_frames", "Number of frames that are shown."),
            _list("moments", {"type": "number"}, "Seconds at which each moment starts."),
            _list("settings", _STRING, "Label of each setting that is compared."),
        ),
    ),
    Event(
        "plan", "batch", "Before the work.", (_list("files", _LOOK, "What will be done about each file."),)
    ),
    Event(
        "passed_over",
        "batch",
        "Before the plan, if there are such files; with `--watch`, again for new ones.",
        (
            _list("files", _STRING, "Paths in the folder of the files that are passed over."),
            _list("reasons", _STRING, "Why each of them is passed over."),
        ),
    ),
    Event("note", "", "At any time.", (_text("message", "Information for people."),)),
    Event("warning", "", "At any time.", (_text("message", "What falls short, for people."),)),
    Event(
        "estimate",
        "upscale, batch",
        "When the first part is made.",
        (
            *_FILE,
            *fields_of(Estimate),
            *_ALL_FILES,
            *_optional(
                *fields_of(Estimate, "seconds_left"),
                _count("batch_size", "Frames that are computed together."),
                Field(
                    "tile_size", {"type": ["integer", "null"]}, "Side of the tiles; null for whole frames."
                ),
                _count("noise_level", "Noise level that all frames are restored at."),
                Field(
                    "estimated_noise_level",
                    {"type": ["integer", "null"]},
                    "The estimate that it follows from, for `compact`; null if the user chose it.",
                ),
            ),
        ),
    ),
    Event(
        "progress",
        "upscale, preview, batch",
        "After every batch of frames.",
        (
            *_FILE,
            *fields_of(Progress, "num_done", "num_frames"),
            _number("frames_per_second", "Speed of this run so far."),
            *fields_of(Progress, "seconds_left", "share_reused", "memory", "num_shots", "shot_seconds"),
            *_BATCH_PROGRESS,
            *_ALL_FILES,
        ),
    ),
    Event("part", "upscale, batch", "When a part is complete.", (*_FILE, *fields_of(Part))),
    Event(
        "file",
        "batch",
        "When a file is finished, skipped, failed, left or gone.",
        tuple(fields_of(FileReport)),
    ),
    Event("check", "verify", "For each comparison.", tuple(fields_of(Check))),
    Event(
        "done",
        "upscale of a video",
        "At the end.",
        (*fields_of(Report), *fields_of(Report, "frames_per_second")),
    ),
    Event(
        "done",
        "upscale of a still picture, compare",
        "At the end.",
        (_text("output", "Path of the output."),),
    ),
    Event(
        "done",
        "preview",
        "At the end.",
        (
            _list("outputs", _STRING, "Paths of the videos."),
            _text("crops", "Path of the picture of crops."),
            Field("page", {"type": ["string", "null"]}, "Path of the page; null if none was wanted."),
            _list("costs", schema_of(Cost), "What each setting costs."),
        ),
    ),
    Event(
        "done",
        "batch",
        "At the end.",
        _optional(
            *(_count(each.value, f"Number of files with the outcome `{each}`.") for each in Outcome),
            _count("passed_over", "Number of files that were passed over."),
        ),
    ),
    Event(
        "done",
        "verify",
        "At the end.",
        (_count("num_checks", "Number of comparisons."), _count("num_lost", "Number of those that failed.")),
    ),
    Event(
        "error",
        "",
        "Instead of `done`, or after it if the exit code is not 0.",
        (
            _text("message", "What went wrong, where, and what to do."),
            _text("command", "Command that resumes the work, if it can be resumed.", is_required=False),
        ),
    ),
)

PARTS_OF_EVENTS = {
    "A stream in `kept` and `lost`": fields_of(StreamInfo),
    "A cost in `costs`": fields_of(Cost),
    "`stages` of a report": fields_of(StageSeconds),
    "A worker in `workers`": fields_of(WorkerStats),
}
OBJECTS = {
    "`vidx4 models --json`: a list of these": fields_of(KnownModel),
    "`vidx4 doctor --json`: a list of these": fields_of(Finding),
}


def event_tables() -> str:
    """Return all events and their fields in Markdown."""
    sections = []
    for event in EVENTS:
        title = f"### `{event.kind}`{f' of {event.of}' if event.of else ''}"
        sections.append(f"{title}\n\n{event.when}\n\n{_fields(event.fields)}")
    sections += [f"### {title}\n\n{_fields(fields)}" for title, fields in PARTS_OF_EVENTS.items()]
    return "\n\n".join(sections)


def object_tables() -> str:
    """Return the objects of commands that print no events, in Markdown."""
    return "\n\n".join(f"### {title}\n\n{_fields(fields)}" for title, fields in OBJECTS.items())


def schema() -> str:
    """Return the JSON Schema of one line of `--json`."""
    version = Field("version", {"const": EVENTS_VERSION}, _VERSION, is_required=False)
    kinds = []
    for event in EVENTS:
        kind = Field("event", {"const": event.kind})
        title = f"{event.kind}{f' of {event.of}' if event.of else ''}"
        kinds.append({"title": title, **object_schema([kind, version, *event.fields])})
    whole = {
        "$schema": _DIALECT,
        "title": f"An event of vidx4 --json, version {EVENTS_VERSION}",
        "anyOf": kinds,
    }
    return json.dumps(whole, indent=2) + "\n"


def _fields(fields: tuple[Field, ...] | list[Field]) -> str:
    rows = [(code(each.name), _type(each), cell(each.description)) for each in fields]
    return table(("Field", "Type", "Meaning"), rows)


def _type(field: Field) -> str:
    return cell(type_name(field.schema)) + ("" if field.is_required else ", optional")
