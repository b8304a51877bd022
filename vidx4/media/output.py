"""What an output will hold, decided before any work."""

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import floor
from pathlib import Path

from vidx4.appearance import HdrMetadata
from vidx4.errors import OutputError
from vidx4.media.description import Description, describe
from vidx4.media.existing import is_other_frame, is_other_video
from vidx4.media.formats.captions import CAPTIONED
from vidx4.media.formats.containers import PICTURES, format_of
from vidx4.media.formats.encoder_files import check_files
from vidx4.media.options import EncodeOptions, StreamOptions
from vidx4.media.pictures.write_sequence import DEFAULT_PATTERN, split_output
from vidx4.media.place import check_folder, check_writable
from vidx4.media.streams import Streams, choose_streams
from vidx4.media.target import Target, target_of
from vidx4.media.tracks.timeline import Cut
from vidx4.video import WHOLE, Source, TimeRange

_TS_START = Fraction(1)
"""The earliest beginning of a video in MPEG-TS, in seconds: decoding times can't be negative there."""

_MAX_OFFSET = Fraction(10)
"""The latest beginning of a video in MP4 and QuickTime that is kept, in seconds."""


@dataclass(frozen=True)
class Output:
    """A file to write: the enlarged video and everything that it keeps of its source."""

    path: Path
    source: Source
    span: TimeRange
    """The part of the source that is kept."""
    target: Target
    streams: Streams
    unkept: tuple[str, ...] = ()
    """Subjects of checks that a rehearsal found to fail, of minor things that the container can't hold."""
    max_packets: int | None = None
    """Most packets of each other stream, for a rehearsal; None for all."""

    @property
    def suffix(self) -> str:
        """The suffix that names the container, such as `.mp4`."""
        return self.path.suffix.lower()

    @property
    def muxer(self) -> str:
        """FFmpeg's name of the container, such as `mp4`."""
        return format_of(self.suffix)

    @property
    def is_pictures(self) -> bool:
        """Whether numbered pictures are written; `path` is their pattern then."""
        return self.suffix == PICTURES

    @cached_property
    def description(self) -> Description:
        """The metadata that it holds, and what of the source's it can't hold."""
        return describe(self.source, self.streams.kept, self.span, self.suffix)

    @property
    def made_span(self) -> TimeRange:
        """The part of the source whose frames are made: in a rehearsal, the first frame."""
        if self.max_packets is None or len(self.frames) < 2:
            return self.span
        return TimeRange(self.span.start, self.source.seconds_of(self.frames[1]))

    @property
    def keeps_captions(self) -> bool:
        """Whether there are closed captions in the source's video that the output's holds too."""
        return self.source.has_captions and self.target.encoder.bitstream in CAPTIONED

    @property
    def cut(self) -> Cut:
        """The part of the source that is kept, in seconds, and the second that becomes 0."""
        cut = replace(Cut.of(self.source, self.span), max_packets=self.max_packets)
        if self.muxer == "mpegts" and cut.start - cut.origin < _TS_START:
            # Whole seconds are exact in every time base.
            return replace(cut, origin=Fraction(floor(cut.start)) - _TS_START)
        if self.starts_late:
            ticks = floor(self._start / self.source.time_base)  # whole ones: frames keep their exact times
            return replace(cut, origin=ticks * self.source.time_base)
        return cut

    @property
    def starts_late(self) -> bool:
        """Whether the source's clock begins so late that the container's own has to begin anew.

        Players of MP4 and QuickTime show the time before the first frame, in a recording maybe hours.
        """
        return self.muxer in ("mp4", "mov") and self.span.is_whole and self._start > _MAX_OFFSET

    @property
    def _start(self) -> Fraction:
        """Second at which the first frame is shown or the first sound is heard."""
        streams = (each.stream for each in self.streams.carried)
        starts = (each.start for each in streams if each.kind in ("audio", "video") and not each.is_cover)
        first = self.source.pts[0] * self.source.time_base
        return min([first, *(Fraction(start) for start in starts if start is not None)])

    @property
    def frames(self) -> tuple[int, ...]:
        """The pts of the source's frames that it holds."""
        return tuple(self.source.pts[index] for index in self.span.frames(self.source))

    def of_pieces(self, path: Path, first: Source) -> "Output":
        """Return the output that holds several like this one, one after another.

        Args:
            path: where it should appear.
            first: the first of them, as it was written.
        """
        # The stream of a piece carries its HDR metadata already.
        target = replace(self.target, hdr=HdrMetadata())
        return Output(path, first, WHOLE, target, choose_streams(first, path.suffix))


def _check_place(source: Source, path: Path, target: Target, overwrite: bool, replaces_any: bool) -> None:
    if path.suffix.lower() != PICTURES:

        def is_other(file: Path) -> bool:
            return not replaces_any and is_other_video(file, source, target)

        check_writable(path, source.path, overwrite, is_other)
    elif (numbered := split_output(path)) is None:
        raise OutputError(
            f"A video can't be written to one picture: use a pattern such as {DEFAULT_PATTERN}."
        )
    else:

        def is_other_picture(file: Path) -> bool:
            return not replaces_any and is_other_frame(file, source, target)

        folder, pattern = numbered
        check_folder(folder, source.path, pattern, overwrite=overwrite, is_other=is_other_picture)


def plan_output(
    source: Source,
    path: Path,
    span: TimeRange = WHOLE,
    encode: EncodeOptions = EncodeOptions(),
    streams: StreamOptions = StreamOptions(),
    *,
    overwrite: bool = False,
    replaces_any: bool = False,
) -> Output:
    """Decide what an output will hold.

    Args:
        source: the video that is enlarged.
        path: where the output should appear; its suffix names the container.
        span: the part of the source that is wanted.
        encode: how frames are compressed.
        streams: which other streams are wanted.
        overwrite: whether an output that exists is replaced; the source never is.
        replaces_any: whether this goes for a video or picture, too, that can't have been made of the source.

    Raises:
        OptionError: the options don't fit the source or each other, or name files outside of the output's
            folder.
        ContainerError: the container can't hold what is wanted.
        OutputError: the output exists and may not be replaced, is the source itself, or is of a kind that
            can't be written.
    """
    suffix = path.suffix.lower()
    format_of(suffix)
    check_files(encode.encoder_options, path, source.path)  # before an encoder is tried out
    target = target_of(source, suffix, encode)
    _check_place(source, path, target, overwrite, replaces_any)
    return Output(path, source, span, target, choose_streams(source, suffix, span, streams))
