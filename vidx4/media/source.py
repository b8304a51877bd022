"""A file as the user wants it read: one of its videos, with whole frames."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from vidx4.errors import OptionError
from vidx4.media.fields.deinterlace import choose_fields, is_interlaced, treat
from vidx4.media.fields.detect import measure_fields
from vidx4.media.options import Deinterlace, InverseTelecine, ReadOptions
from vidx4.media.pictures.read_sequence import is_sequence
from vidx4.media.probe import probe
from vidx4.video import Fields, Source


def _at_rate(source: Source, rate: Fraction | None) -> Source:
    """Show numbered pictures at another rate than the usual one."""
    if rate is None:
        return source
    if not is_sequence(source.path):
        raise OptionError(f"--frame-rate is for numbered pictures: {source.path} has times of its own.")
    return replace(source, time_base=1 / rate, frame_rate=rate)


def read_source(path: str | Path, options: ReadOptions = ReadOptions()) -> Source:
    """Return what a video file holds and what is done about its fields, which are measured on a sample.

    Raises:
        SourceError: the file can't be read, holds no video, or none of its frames can be decoded.
        OptionError: there is no such video stream, or nothing that could be undone.
    """
    source = _at_rate(probe(path, options.video_stream), options.frame_rate)
    if options.keeps_fields:
        return source
    measure = measure_fields(source)
    fields = choose_fields(
        source, measure, Deinterlace(options.deinterlace), InverseTelecine(options.inverse_telecine)
    )
    source = replace(source, is_interlaced=is_interlaced(source, measure))
    return source if fields == Fields.KEEP else treat(source, fields, measure.top_field_first)
