"""A file as the user wants it read: one of its videos, with whole frames."""

from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

from vidx4.errors import OptionError
from vidx4.media.fields.deinterlace import Deinterlace, InverseTelecine, choose_fields, is_interlaced, treat
from vidx4.media.fields.detect import measure_fields
from vidx4.media.pictures.read_sequence import is_sequence
from vidx4.media.probe import probe
from vidx4.video import Fields, Source


@dataclass(frozen=True)
class ReadOptions:
    """How a source is read."""

    video_stream: int | None = None
    """The number of the video stream that is enlarged; None for the one that players show."""
    deinterlace: Deinterlace = Deinterlace.AUTO
    inverse_telecine: InverseTelecine = InverseTelecine.AUTO
    frame_rate: Fraction | None = None
    """Of numbered pictures; None for 25."""

    @classmethod
    def of(cls, video_stream: int | None, deinterlace: str, inverse_telecine: str) -> "ReadOptions":
        """Return the options that words stand for.

        Raises:
            OptionError: a word has no meaning.
        """
        return cls(
            video_stream,
            _word(Deinterlace, "deinterlace", deinterlace),
            _word(InverseTelecine, "inverse-telecine", inverse_telecine),
        )

    @property
    def keeps_fields(self) -> bool:
        """Whether frames are taken as they are, whatever they hold."""
        return self.deinterlace == Deinterlace.OFF and self.inverse_telecine == InverseTelecine.OFF


def _at_rate(source: Source, rate: Fraction | None) -> Source:
    """Show numbered pictures at another rate than the usual one."""
    if rate is None:
        return source
    if not is_sequence(source.path):
        raise OptionError(f"--frame-rate is for numbered pictures: {source.path} has times of its own.")
    return replace(source, time_base=1 / rate, frame_rate=rate)


Word = TypeVar("Word", bound=StrEnum)


def _word(words: type[Word], option: str, text: str) -> Word:
    try:
        return words(text)
    except ValueError:
        raise OptionError(f"--{option} takes {', '.join(words)}, not {text!r}.") from None


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
    fields = choose_fields(source, measure, options.deinterlace, options.inverse_telecine)
    source = replace(source, is_interlaced=is_interlaced(source, measure))
    return source if fields == Fields.KEEP else treat(source, fields, measure.top_field_first)
