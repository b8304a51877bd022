"""What an output is to hold, decided before any work."""

from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor
from pathlib import Path

from vidx4.errors import OutputError
from vidx4.media.atomic import check_writable
from vidx4.media.formats.containers import PICTURES, format_of
from vidx4.media.options import EncodeOptions, StreamOptions
from vidx4.media.pictures.write_sequence import DEFAULT_PATTERN, check_folder, split_output
from vidx4.media.streams import Streams, choose_streams
from vidx4.media.target import Target, target_of
from vidx4.media.tracks.timeline import Cut
from vidx4.video import WHOLE, HdrMetadata, Source, TimeRange

_TS_START = Fraction(1)
"""Where a video begins in MPEG-TS that would begin earlier: decoding times can't be negative there."""


@dataclass(frozen=True)
class Output:
    """A file to be written: the enlarged video and what it keeps of its source."""

    path: Path
    source: Source
    span: TimeRange
    """What is kept of the source."""
    target: Target
    streams: Streams

    @property
    def suffix(self) -> str:
        """What names the container, such as `.mp4`."""
        return self.path.suffix.lower()

    @property
    def muxer(self) -> str:
        """FFmpeg's name of the container, such as `mp4`."""
        return format_of(self.suffix)

    @property
    def is_pictures(self) -> bool:
        """Whether it is a folder of numbered pictures, and `path` their pattern in it."""
        return self.suffix == PICTURES

    @property
    def cut(self) -> Cut:
        """What is kept of the source, and which of its seconds becomes the output's 0."""
        cut = Cut.of(self.source, self.span)
        if self.muxer == "mpegts" and cut.start - cut.origin < _TS_START:
            # Whole seconds are exact in every time base.
            return replace(cut, origin=Fraction(floor(cut.start)) - _TS_START)
        return cut

    def of_pieces(self, path: Path, first: Source) -> "Output":
        """Return the output that holds several like this one, one after another.

        Args:
            path: where it should appear.
            first: the first of them, as it was written.
        """
        # The stream of a piece carries its HDR metadata already.
        target = replace(self.target, hdr=HdrMetadata())
        return Output(path, first, WHOLE, target, choose_streams(first, path.suffix))


def _check_place(source: Source, path: Path, overwrite: bool) -> None:
    if path.suffix.lower() != PICTURES:
        check_writable(path, source.path, overwrite)
    elif (numbered := split_output(path)) is None:
        raise OutputError(f"A video can't be one picture: for many, name them as {DEFAULT_PATTERN}.")
    else:
        check_folder(*numbered, overwrite=overwrite)


def plan_output(
    source: Source,
    path: Path,
    span: TimeRange = WHOLE,
    encode: EncodeOptions = EncodeOptions(),
    streams: StreamOptions = StreamOptions(),
    *,
    overwrite: bool = False,
) -> Output:
    """Decide what an output holds.

    Args:
        source: what is enlarged.
        path: where the output shall appear; its suffix names the container.
        span: the part of the source that is wanted.
        encode: how frames are compressed.
        streams: which other streams are wanted.
        overwrite: whether an output that exists is replaced; the source never is.

    Raises:
        OptionError: the options don't fit the source or each other.
        OutputError: the output exists and `overwrite` is not set, is the source itself, or is of a kind
            that is not written or can't hold what is wanted.
    """
    suffix = path.suffix.lower()
    format_of(suffix)
    _check_place(source, path, overwrite)
    target = target_of(source, suffix, encode)
    return Output(path, source, span, target, choose_streams(source, suffix, span, streams))
