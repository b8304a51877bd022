"""The streams of an output, and what is written about them."""

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import pairwise
from math import lcm
from typing import TYPE_CHECKING

from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from vidx4.media.color import tag_colors
from vidx4.media.container import BITEXACT, open_source, read_packets
from vidx4.media.suffix import RIFF_AUDIO, lost_streams
from vidx4.media.timeline import Cut
from vidx4.video import Source

if TYPE_CHECKING:
    from av.container.core import Chapter  # in the stubs only

_MAX_TIMESCALE = 2**31 - 1
_MILLISECONDS = 1000
_ROUNDING = Fraction(2, _MILLISECONDS)
_STALE_KEYS = frozenset({"compatible_brands", "duration", "encoder", "major_brand", "minor_version"})
_STALE_PREFIXES = ("_statistics", "bps", "number_of_")
"""What mkvmerge writes about the packets of a stream."""


def muxer_options(suffix: str, source: Source, original: InputContainer) -> dict[str, str]:
    """Return the options with which a muxer keeps every timestamp exactly, if the container can."""
    if suffix == ".mkv":
        return BITEXACT
    videos = (source.time_base, *(stream.time_base for stream in original.streams.video))
    starts = (Fraction(stream.start_time or 0) * (stream.time_base or 1) for stream in original.streams)
    return BITEXACT | {
        "movflags": "+faststart",
        "video_track_timescale": str(_common_timescale(videos, source.time_base.denominator)),
        "movie_timescale": str(_common_timescale((Fraction(1, _MILLISECONDS), *starts), _MILLISECONDS)),
    }


def _common_timescale(times: Iterable[Fraction | None], fallback: int) -> int:
    timescale = lcm(*(time.denominator for time in times if time))
    return timescale if timescale <= _MAX_TIMESCALE else fallback


def add_video(output: OutputContainer, part: VideoStream, original: Stream, source: Source) -> VideoStream:
    """Add the enlarged video to an output."""
    video = output.add_stream_from_template(part, opaque=True)
    video.time_base = source.time_base
    context = video.codec_context
    context.sample_aspect_ratio = source.sample_aspect_ratio
    if source.frame_rate and _is_steady(source):
        context.framerate = source.frame_rate  # Matroska states it, and players trust it
    tag_colors(context, source.color)
    if context.name == "hevc" and output.format.name != "matroska":
        context.codec_tag = "hvc1"  # Apple's players take no other
    video.set_display_matrix(source.display_matrix)
    _describe(video, original)
    return video


def _is_steady(source: Source) -> bool:
    """Return whether all frames last equally long, but for the rounding of a container."""
    steps = [stop - start for start, stop in pairwise(source.pts)] or [0]
    return (max(steps) - min(steps)) * source.time_base <= _ROUNDING


def add_copies(
    output: OutputContainer, original: InputContainer, source: Source, suffix: str, cut: Cut
) -> dict[int, Stream]:
    """Add what an output holds of a source; return the streams with packets by their index there."""
    copies = {}
    for stream in _copied_streams(original, source, suffix, cut):
        if suffix == ".mkv" and stream.disposition & Disposition.attached_pic:
            _attach(output, stream, source)
            continue
        copy = copies[stream.index] = _add_copy(output, stream)
        _describe(copy, stream)
        if copy.type == "video":
            copy.disposition &= ~Disposition.default  # players are to begin with the enlarged one
    return copies


def _copied_streams(original: InputContainer, source: Source, suffix: str, cut: Cut) -> Iterator[Stream]:
    left_out = {stream.index for stream in lost_streams(source, suffix, cut.span)} | {source.video_index}
    return (original.streams[stream.index] for stream in source.streams if stream.index not in left_out)


def _add_copy(output: OutputContainer, stream: Stream) -> Stream:
    codec = stream.codec_context and stream.codec_context.codec.canonical_name
    if output.format.name != "matroska" or codec not in RIFF_AUDIO:
        return output.add_stream_from_template(stream, opaque=True)
    # PyAV only adds what the muxer says it holds, but lets a filter change what was added.
    copy = output.add_mux_stream("pcm_s16le")
    copy.time_base = stream.time_base
    BitStreamFilterContext("null", stream, copy)
    return copy


def _attach(output: OutputContainer, cover: Stream, source: Source) -> None:
    """Add a cover as Matroska has it, a file that is attached."""
    with open_source(source.path) as container:
        picture = bytes(next(read_packets(container, container.streams[cover.index])))
    kind = "png" if cover.codec_context.name == "png" else "jpeg"
    name = cover.metadata.get("filename", f"cover.{kind}")
    output.add_attachment(name, cover.metadata.get("mimetype", f"image/{kind}"), picture)


def _describe(stream: Stream, original: Stream) -> None:
    stream.disposition = original.disposition
    stream.metadata.update(_lasting(original.metadata))


def describe_output(output: OutputContainer, original: InputContainer, cut: Cut) -> None:
    """Copy the metadata and the chapters of a source."""
    output.metadata.update(_lasting(original.metadata))
    chapters = (chapter for chapter in original.chapters() if cut.holds(*_bounds(chapter)))
    output.set_chapters([_move(chapter, cut) for chapter in chapters])


def _lasting(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return what stays true after the packets have changed."""
    return {
        key: value
        for key, value in metadata.items()
        if key.lower() not in _STALE_KEYS and not key.lower().startswith(_STALE_PREFIXES)
    }


def _bounds(chapter: "Chapter") -> tuple[Fraction, Fraction]:
    time_base = Fraction(chapter["time_base"] or 1)
    return chapter["start"] * time_base, chapter["end"] * time_base


def _move(chapter: "Chapter", cut: Cut) -> "Chapter":
    if cut.is_whole:
        return chapter
    time_base = Fraction(chapter["time_base"] or 1)
    start, stop = _bounds(chapter)
    moved = chapter.copy()
    moved["start"] = round((max(start, cut.start) - cut.origin) / time_base)
    moved["end"] = round((min(stop, cut.stop) - cut.origin) / time_base)
    return moved
