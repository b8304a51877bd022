"""The objects that `--json` and `--report` write, taken from the classes that they are made of."""

import json
from dataclasses import dataclass

from scripts.docs.fields import Field, Schema, fields_of, object_schema, schema_of, type_name
from scripts.docs.markdown import cell, code, table
from vidx4.appearance import ColorDescription, Margins
from vidx4.cli.terminal import EVENTS_VERSION
from vidx4.diffusion.models.folder_listing import ListedModel
from vidx4.diffusion.models.known import KnownModel
from vidx4.jobs.doctor import Finding
from vidx4.jobs.estimate import Estimate
from vidx4.jobs.folder.reports import FileReport, Outcome
from vidx4.jobs.part_record import Part
from vidx4.jobs.preview.run import Cost
from vidx4.jobs.progress import Progress, StageSeconds, WorkerStats
from vidx4.jobs.report import Report
from vidx4.jobs.still.upscale import PictureReport
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


def _fields_in(schema: Schema) -> list[Field]:
    """Return the fields of an object's schema."""
    return [Field(name, each, each["description"]) for name, each in schema["properties"].items()]


_TIME = _number("time", "When it was printed: seconds since 1970, UTC.")
_STRING = {"type": "string"}
_STRING_OR_NULL = {"type": ["string", "null"]}
_FILE = (_text("file", "Path of the source that the event is about."),)
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
_PROGRESS = (
    *fields_of(Progress, "num_done", "num_frames"),
    _number("frames_per_second", "Speed of this run so far."),
    *fields_of(Progress, "seconds_left", "share_reused", "memory", "num_shots", "shot_seconds"),
)
_ESTIMATE = (*fields_of(Estimate), *fields_of(Estimate, "seconds_left"))
_ALL_FILES = _number("seconds_left_of_all", "Seconds left for all files.")
_EXIT_CODE = _count("exit_code", "Exit code of the command.")
_DRY_RUN = Field("is_dry_run", {"const": True}, "Always true.")
_OUTCOMES = (
    *(_count(each.value, f"Number of files with the outcome `{each}`.") for each in Outcome),
    _count("passed_over", "Number of files that were passed over."),
)
_ADVICE = _text("message", "What failed or is left, and what to do next.", is_required=False)
_SOURCE = (
    _text("path", "Path of the file."),
    _text("container", "FFmpeg's name of the container, such as `mov,mp4,m4a,3gp,3g2,mj2`."),
    _count("video_stream", "Number of the video stream that the following is about."),
    _count("width", "Width of a frame in pixels."),
    _count("height", "Height of a frame in pixels."),
    _text("sample_aspect_ratio", "Width of a pixel over its height, as in `1` or `64/45`."),
    _count("rotation", "Degrees counter-clockwise by which players rotate the picture."),
    Field("margins", schema_of(Margins), "Pixels that players crop from each side."),
    _count("num_frames", "Number of frames."),
    _number("duration", "Seconds from the start of the first frame to the end of the last."),
    Field("frame_rate", _STRING_OR_NULL, "Frames a second, as in `25` or `30000/1001`; null if it has none."),
    Field("is_constant_rate", {"type": "boolean"}, "Whether all frames last equally long."),
    _text("time_base", "Seconds of one unit of the timestamps, as in `1/90000`."),
    _count("first_pts", "Timestamp of the first frame, in units of the time base."),
    _text("pixel_format", "FFmpeg's name of the pixel format."),
    _count("bit_depth", "Bits per colour."),
    *fields_of(ColorDescription),
    Field("has_mastering_display", {"type": "boolean"}, "Whether HDR metadata tells of a display (ST 2086)."),
    Field(
        "has_content_light", {"type": "boolean"}, "Whether HDR metadata tells of light levels (CTA-861.3)."
    ),
    Field("has_captions", {"type": "boolean"}, "Whether there are closed captions in the frames."),
    Field("projection", _STRING_OR_NULL, "How pictures cover a sphere; null if they are flat."),
    Field("stereo", _STRING_OR_NULL, "How pictures hold the views of both eyes; null if they hold one view."),
    Field("is_interlaced", {"type": "boolean"}, "Whether headers or the first frame say so."),
    Field("fields", schema_of(Fields), "How fields are treated: always `keep` here."),
    _list("streams", schema_of(StreamInfo), "All streams of the file."),
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
        "upscale",
        "When the first part is made.",
        (
            *_ESTIMATE,
            _count("batch_size", "Frames that are computed together."),
            Field("tile_size", {"type": ["integer", "null"]}, "Side of the tiles; null for whole frames."),
            *fields_of(Report, "noise_level", "estimated_noise_level"),
        ),
    ),
    Event(
        "estimate",
        "batch",
        "When the first part of the first video is made.",
        (*_FILE, *_ESTIMATE, _ALL_FILES),
    ),
    Event(
        "progress",
        "upscale, preview",
        "After every batch of frames.",
        _PROGRESS,
    ),
    Event(
        "progress",
        "batch",
        "After every batch of frames.",
        (
            *_FILE,
            *_PROGRESS,
            _count("number", "Number of the file, counted from 1."),
            _count("num_files", "Number of files."),
            _number("share_done_of_all", "Share of the work on all files that is done, by pixels."),
            _ALL_FILES,
        ),
    ),
    Event("part", "upscale, preview", "When a part is complete.", tuple(fields_of(Part))),
    Event("part", "batch", "When a part is complete.", (*_FILE, *fields_of(Part))),
    Event(
        "file",
        "batch",
        "When a file is finished, skipped, failed, left or gone.",
        tuple(fields_of(FileReport)),
    ),
    Event("check", "verify", "For each comparison.", tuple(fields_of(Check))),
    Event("source", "probe", "Before `done`.", _SOURCE),
    Event(
        "model_file",
        "models",
        "For each file in the folder, if one is named.",
        tuple(fields_of(ListedModel)),
    ),
    Event("model", "models", "For each model that has a name.", tuple(fields_of(KnownModel))),
    Event("finding", "doctor", "For each thing that was examined.", tuple(fields_of(Finding))),
    Event(
        "done",
        "upscale of a video",
        "At the end.",
        (_EXIT_CODE, *fields_of(Report), *fields_of(Report, "frames_per_second")),
    ),
    Event(
        "done",
        "upscale of a video with --dry-run",
        "At the end.",
        (_EXIT_CODE, _DRY_RUN, _text("work_folder", "Folder that keeps the frames that were measured.")),
    ),
    Event(
        "done",
        "upscale of a still picture",
        "At the end.",
        (_EXIT_CODE, *fields_of(PictureReport)),
    ),
    Event("done", "compare", "At the end.", (_EXIT_CODE, _text("output", "Path of the output."))),
    Event(
        "done",
        "preview",
        "At the end.",
        (
            _EXIT_CODE,
            _list("outputs", _STRING, "Paths of the videos."),
            _text("crops", "Path of the picture of crops."),
            Field("page", _STRING_OR_NULL, "Path of the page; null if none was wanted."),
            _list("costs", schema_of(Cost), "What each setting costs."),
        ),
    ),
    Event(
        "done",
        "batch",
        "At the end; the exit code is 1 if a file failed or is left.",
        (_EXIT_CODE, *_OUTCOMES, _ADVICE),
    ),
    Event(
        "done",
        "batch with --dry-run",
        "At the end; the exit code is 1 if a file can't be enlarged.",
        (_EXIT_CODE, _DRY_RUN, _count("failed", "Number of files that can't be enlarged.")),
    ),
    Event(
        "done",
        "verify",
        "At the end; the exit code is 1 if anything is lost.",
        (
            _EXIT_CODE,
            _count("num_checks", "Number of comparisons."),
            _count("num_lost", "Number of those that failed."),
        ),
    ),
    Event("done", "probe", "At the end.", (_EXIT_CODE,)),
    Event("done", "models", "At the end.", (_EXIT_CODE, _count("num_models", "Number of models."))),
    Event(
        "done",
        "doctor",
        "At the end.",
        (
            _EXIT_CODE,
            _count("num_findings", "Number of things that were examined."),
            _count("num_not_fine", "Number of those that need something to be done."),
        ),
    ),
    Event(
        "error",
        "",
        "Instead of `done`, if the command ends early.",
        (
            _EXIT_CODE,
            _text("message", "What went wrong, where, and what to do."),
            _text("command", "Command that resumes the work, if it can be resumed.", is_required=False),
        ),
    ),
)

PARTS_OF_EVENTS = {
    "A stream in `kept`, `lost` and `streams`": fields_of(StreamInfo),
    "A file in `files` of a plan": _fields_in(_LOOK),
    "`margins` of a source": fields_of(Margins),
    "A cost in `costs`": fields_of(Cost),
    "`stages` of a report": fields_of(StageSeconds),
    "A worker in `workers`": fields_of(WorkerStats),
}


def event_tables() -> str:
    """Return all events and their fields in Markdown."""
    sections = []
    for event in EVENTS:
        title = f"### `{event.kind}`{f' of {event.of}' if event.of else ''}"
        sections.append(f"{title}\n\n{event.when}\n\n{_fields(event.fields)}")
    sections += [f"### {title}\n\n{_fields(fields)}" for title, fields in PARTS_OF_EVENTS.items()]
    return "\n\n".join(sections)


def schema() -> str:
    """Return the JSON Schema of one line of `--json`."""
    version = Field("version", {"const": EVENTS_VERSION}, _VERSION, is_required=False)
    kinds = []
    for event in EVENTS:
        kind = Field("event", {"const": event.kind})
        title = f"{event.kind}{f' of {event.of}' if event.of else ''}"
        kinds.append({"title": title, **object_schema([kind, version, _TIME, *event.fields])})
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
