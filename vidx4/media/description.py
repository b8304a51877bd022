"""The metadata of an output: what of its source's it holds, under which keys, and what is lost."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from vidx4.media.formats.containers import MATROSKA, format_of
from vidx4.media.formats.held_tags import HeldTags, tags_of_file, tags_of_stream
from vidx4.media.formats.languages import UNDETERMINED, is_same_language
from vidx4.media.tracks.timecode import first_timecode, stated_timecode
from vidx4.video import Source, StreamInfo, TimeRange

_TECHNICAL = frozenset({"alpha_mode", "filename", "handler_name", "mimetype", "name", "timecode"})
"""Keys of streams that containers use for themselves, or that other sentences are about."""
_MAX_NAMED, _MAX_LENGTH = 5, 40
"""The most keys that a sentence names, and the most letters of each."""
_ROUNDING = 2
"""Thousandths of a second by which durations may differ only because both ends were rounded."""


@dataclass(frozen=True)
class Description:
    """The metadata of an output."""

    file: HeldTags = field(default_factory=HeldTags)
    streams: Mapping[int, HeldTags] = field(default_factory=dict)
    """Metadata of streams, by their indices in the source."""
    warnings: tuple[str, ...] = ()
    """Sentences about what is lost."""

    @property
    def has_timecode(self) -> bool:
        """Whether the video has a timecode; MP4 and QuickTime files have a further stream for it."""
        return any("timecode" in held.kept for held in self.streams.values())

    def of_stream(self, index: int) -> Mapping[str, str]:
        """Return the metadata of a stream by its index in the source."""
        return self.streams[index].kept


def is_steady(source: Source) -> bool:
    """Return whether all frames last equally long, apart from rounding."""
    steps = [stop - start for start, stop in pairwise(source.pts)] or [0]
    return 1000 * (max(steps) - min(steps)) * source.time_base <= _ROUNDING


def describe(source: Source, kept: Sequence[StreamInfo], span: TimeRange, suffix: str) -> Description:
    """Decide which metadata an output holds.

    Args:
        source: the video that is enlarged.
        kept: its other streams that the output holds.
        span: the part of it that is kept.
        suffix: the suffix that names the output's container.
    """
    muxer = format_of(suffix)
    if muxer == "image2":
        return Description(warnings=tuple(_about_timecode(source, span, HeldTags(), suffix)))
    file = tags_of_file(dict(source.tags), muxer)
    (video,) = (stream for stream in source.streams if stream.index == source.video_index)
    rate = source.frame_rate if is_steady(source) else None
    # MP4 and QuickTime files count frames, which needs a constant rate; Matroska holds the text.
    timecode = first_timecode(source, span) if rate or muxer in MATROSKA else ""
    streams = {each.index: tags_of_stream(each.kind, dict(each.tags), muxer) for each in kept}
    streams[video.index] = tags_of_stream("video", dict(video.tags), muxer, timecode, rate, source.time_base)
    warnings = [
        *_about_timecode(source, span, streams[video.index], suffix),
        *(sentence for each in (video, *kept) for sentence in _about_language(each, streams, suffix)),
        *_about_tags(file, streams, (video, *kept), suffix),
    ]
    return Description(file, streams, tuple(warnings))


def _about_timecode(source: Source, span: TimeRange, video: HeldTags, suffix: str) -> Iterator[str]:
    timecode = stated_timecode(source)
    if not timecode or "timecode" in video.kept:
        return
    why = f"a {suffix} file can't hold it"
    if not first_timecode(source, span):
        why = "it isn't one for the frame rate of the video"
    elif suffix in (".mp4", ".m4v", ".mov") and not is_steady(source):
        why = f"in a {suffix} file it needs a constant frame rate"
    yield f"The timecode {_short(timecode)} is dropped: {why}."


def _about_language(stream: StreamInfo, streams: Mapping[int, HeldTags], suffix: str) -> Iterator[str]:
    written = streams[stream.index].kept.get("language", "")
    if stream.language in ("", UNDETERMINED) or is_same_language(stream.language, written):
        return
    what = f"The language of stream {stream.index}, {_short(stream.language)},"
    if written:
        yield f"{what} is written as {written}."
    else:
        yield f"{what} is dropped: a {suffix} file can't hold it."


def _about_tags(
    file: HeldTags, streams: Mapping[int, HeldTags], described: Sequence[StreamInfo], suffix: str
) -> Iterator[str]:
    if suffix == ".ts":  # it holds next to no metadata, which is said once
        return
    if file.lost:
        yield f"Tags of the file are dropped, since a {suffix} file can't hold them: {_listed(file.lost)}."
    for stream in described:
        lost = [key for key in streams[stream.index].lost if key.lower() not in _TECHNICAL]
        if lost and not stream.is_cover:
            yield (
                f"Tags of stream {stream.index} are dropped, since a {suffix} file can't hold them: "
                f"{_listed(lost)}."
            )


def _listed(keys: Sequence[str]) -> str:
    more = len(keys) - _MAX_NAMED
    return ", ".join(map(_short, keys[:_MAX_NAMED])) + (f" and {more} more" if more > 0 else "")


def _short(text: str) -> str:
    return text if len(text) <= _MAX_LENGTH else f"{text[: _MAX_LENGTH - 3]}..."
