"""What to make of a video, and how the job is run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from vidx4.errors import OptionError
from vidx4.media.options import EncodeOptions, ReadOptions, StreamOptions
from vidx4.option import Option, Panel, validate
from vidx4.syntax import TIME
from vidx4.video import WHOLE, TimeRange


@dataclass(frozen=True)
class Request:
    """What to make of a video; how its picture looks is up to `UpscaleOptions`."""

    read: ReadOptions = ReadOptions()
    span: TimeRange = WHOLE
    encode: EncodeOptions = EncodeOptions()
    streams: StreamOptions = StreamOptions()
    overwrite: Annotated[
        bool, Option("Replace files that exist.", Panel.OUTPUT, short="-y", is_common=True)
    ] = False
    strict: Annotated[bool, Option("Fail if a frame can't be decoded.", Panel.JOB)] = False

    def __post_init__(self) -> None:
        start, stop = self.span.start, self.span.stop
        if start is not None and stop is not None and stop <= start:
            times = f"--stop ({TIME.format(stop)} s) must be later than --start ({TIME.format(start)} s)"
            raise OptionError(f"{times}: it is no length, but a place in the video.")


OF_A_COPY = (
    "video_stream",
    "deinterlace",
    "inverse_telecine",
    "frame_rate",
    "start",
    "stop",
    "width",
    "height",
    "audio",
    "subtitles",
)
"""Options that decide what an enlarged copy holds, and so what it is compared with."""


@dataclass(frozen=True)
class JobOptions:
    """How a job is run."""

    batch_size: Annotated[
        int | None,
        Option(
            "Frames that are computed together.", Panel.JOB, minimum=1, default="by the size of the frames"
        ),
    ] = None
    restart: Annotated[
        bool, Option("Start from scratch, even if an earlier run can be resumed.", Panel.JOB)
    ] = False
    dry_run: Annotated[
        bool,
        Option("Show what would be done, and what it takes.", Panel.JOB, short="-n", is_common=True),
    ] = False
    ignore_disk_space: Annotated[bool, Option("Start even if the disk looks too small.", Panel.JOB)] = False
    accept_loss: Annotated[
        bool, Option("Write the output even if verification finds something lost.", Panel.JOB)
    ] = False
    report: Annotated[Path | None, Option("Write a report as JSON.", Panel.JOB, metavar="FILE")] = None

    def __post_init__(self) -> None:
        validate(self)
