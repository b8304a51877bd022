"""What an enlarged copy kept of its source."""

from dataclasses import replace
from pathlib import Path

from vidx4.errors import OptionError
from vidx4.jobs.still.read import is_picture
from vidx4.jobs.still.upscale import verify_picture
from vidx4.media.checks import Check, verify_output
from vidx4.media.encoder import CODECS, EncodeOptions
from vidx4.media.output import Output
from vidx4.media.pictures.read_sequence import is_sequence
from vidx4.media.pictures.write_sequence import DEFAULT_PATTERN
from vidx4.media.probe import probe
from vidx4.media.source import ReadOptions, read_source
from vidx4.media.streams import StreamOptions, choose_streams
from vidx4.media.target import target_of
from vidx4.video import WHOLE, TimeRange


def verify(
    path: str | Path,
    upscaled: str | Path,
    *,
    read: ReadOptions = ReadOptions(),
    streams: StreamOptions = StreamOptions(),
    span: TimeRange = WHOLE,
    size: tuple[int | None, int | None] = (None, None),
) -> list[Check]:
    """Compare a video or a still picture with its enlarged copy.

    Args:
        path: the source.
        upscaled: the copy.
        read: how the source was read.
        streams: which of its streams the copy was to hold.
        span: the part of it that was enlarged.
        size: the width and height that were wanted; None for what follows from the rest.

    Returns:
        What was looked at, and whether it is as it should be.

    Raises:
        SourceError: a file can't be read.
        OptionError: the options don't fit the source.
        OutputError: the copy is of a kind that is not written.
    """
    path, upscaled = Path(path), Path(upscaled)
    if path.is_file() and is_picture(path):
        if (read, streams, span, size) != (ReadOptions(), StreamOptions(), WHOLE, (None, None)):
            raise OptionError("A still picture is one frame, four times larger: no option has a meaning.")
        return verify_picture(path, upscaled)
    source, copy = read_source(path, read), probe(upscaled)
    codec = copy.streams[copy.video_index].codec
    encode = EncodeOptions(codec if codec in CODECS else "auto", width=size[0], height=size[1])
    written = upscaled
    if is_sequence(upscaled):
        written = upscaled / DEFAULT_PATTERN if upscaled.is_dir() else upscaled
        encode = replace(encode, codec="auto")
    suffix = written.suffix.lower()
    target = target_of(source, suffix, encode)
    output = Output(written, source, span, target, choose_streams(source, suffix, span, streams))
    return verify_output(output, upscaled)
