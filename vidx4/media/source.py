"""A video file as the user wants it read: one of its videos, in whole frames."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

from vidx4.errors import OptionError, SourceError
from vidx4.media.display.color import check_colors
from vidx4.media.fields.choose import choose_fields, is_interlaced
from vidx4.media.fields.deinterlace import treat
from vidx4.media.fields.detect import measure_fields
from vidx4.media.options import Deinterlace, InverseTelecine, ReadOptions
from vidx4.media.pictures.read_sequence import is_sequence
from vidx4.media.probe import probe
from vidx4.media.stamp import stamp_of
from vidx4.video import Fields, Source

CheckSize: TypeAlias = Callable[[int, int], None]
"""Raises an error if frames of a width and height can't be enlarged."""


def _at_rate(source: Source, rate: Fraction | None) -> Source:
    """Return numbered pictures at another frame rate than the default."""
    if rate is None:
        return source
    if not is_sequence(source.path):
        raise OptionError(f"--frame-rate is for numbered pictures, but {source.path} states its own.")
    return replace(source, time_base=1 / rate, frame_rate=rate)


def _stamp_of(path: Path) -> str:
    with suppress(OSError, SourceError):  # of what is wrong with it, the probe says more
        return stamp_of(path)
    return ""


def accept(_width: int, _height: int) -> None:
    """Accept frames of all sizes."""


def read_source(
    path: str | Path, options: ReadOptions = ReadOptions(), check_size: CheckSize = accept
) -> Source:
    """Return what a video file holds, and how its fields are treated; they are measured on a sample.

    Args:
        path: the video.
        options: how it is read.
        check_size: is given the width and height of frames as soon as they are known, and raises an error for
            those that can't be enlarged: measuring huge ones takes minutes.

    Raises:
        SourceError: the file can't be read, holds no video, none of its frames can be decoded, or its colours
            can't be converted.
        OptionError: the video stream does not exist, or there are no fields or pulldown to undo.
    """
    stamp = _stamp_of(Path(path))
    source = replace(_at_rate(probe(path, options.video_stream), options.frame_rate), stamp=stamp)
    check_size(source.width, source.height)
    check_colors(source.color, source.pix_fmt, source.path)
    if options.keeps_fields:
        return source
    measure = measure_fields(source)
    fields = choose_fields(
        source, measure, Deinterlace(options.deinterlace), InverseTelecine(options.inverse_telecine)
    )
    source = replace(source, is_interlaced=is_interlaced(source, measure))
    return source if fields == Fields.KEEP else treat(source, fields, measure.top_field_first)
