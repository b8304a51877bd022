"""Comparison of an enlarged copy with its source."""

from dataclasses import replace
from pathlib import Path

from vidx4.errors import OptionError, OutputError
from vidx4.jobs.request import Request
from vidx4.jobs.still.read import is_picture
from vidx4.jobs.still.upscale import verify_picture
from vidx4.media.checks import Check, verify_output
from vidx4.media.decode import unreadable_frames
from vidx4.media.formats.encoders import CODECS
from vidx4.media.options import Codec
from vidx4.media.output import Output
from vidx4.media.pictures.read_sequence import is_sequence
from vidx4.media.pictures.write_sequence import DEFAULT_PATTERN
from vidx4.media.probe import probe
from vidx4.media.rehearse import rehearse
from vidx4.media.source import read_source
from vidx4.media.streams import choose_streams
from vidx4.media.target import target_of


def verify(path: str | Path, upscaled: str | Path, request: Request = Request()) -> list[Check]:
    """Compare a video or a still picture with its enlarged copy.

    Args:
        path: the source.
        upscaled: the copy.
        request: the request that the copy was made with; of `encode`, only the size matters.

    Returns:
        What was checked, and whether it is as it should be.

    Raises:
        SourceError: a file can't be read.
        OptionError: the options don't fit the source.
        OutputError: the copy is of a kind that vidx4 doesn't write.
    """
    path, upscaled = Path(path), Path(upscaled)
    if path.is_file() and is_picture(path):
        if request != Request():
            raise OptionError("A still picture is one frame, four times larger: no options apply to it.")
        return verify_picture(path, upscaled)
    source, copy = read_source(path, request.read), probe(upscaled)
    codec = copy.streams[copy.video_index].codec
    encode = replace(request.encode, codec=codec if codec in CODECS else Codec.AUTO)
    written = upscaled
    if is_sequence(upscaled):
        written = upscaled / DEFAULT_PATTERN if upscaled.is_dir() else upscaled
        encode = replace(encode, codec=Codec.AUTO)
    suffix = written.suffix.lower()
    target = target_of(source, suffix, encode)
    streams = choose_streams(source, suffix, request.span, request.streams)
    output = _promised(Output(written, source, request.span, target, streams))
    missing = unreadable_frames(source, output.frames) if copy.num_frames < len(output.frames) else ()
    return verify_output(output, upscaled, missing)


def _promised(output: Output) -> Output:
    """Return an output without what its container can't hold."""
    try:
        return rehearse(output).output
    except OutputError:  # a copy by another program, in a way that this one doesn't write
        return output
