"""What to make of a video."""

from dataclasses import dataclass
from typing import Annotated

from vidx4.media.options import EncodeOptions, ReadOptions, StreamOptions
from vidx4.option import Option, Panel
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
