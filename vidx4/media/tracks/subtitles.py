"""Convert text subtitles from one container's format to another's, at the same times."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

from av.codec.context import CodecContext
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.subtitles.stream import SubtitleStream

from vidx4.media.container import AnyPacket
from vidx4.media.tracks.styled_text import (
    Reader,
    Text,
    Writer,
    reader_of,
    stack,
    write_mp4,
    write_srt,
    write_vtt,
)
from vidx4.media.tracks.subtitle_trim import begin_of

_MILLISECOND = Fraction(1, 1000)
_USUAL_DURATION = 4000
"""Milliseconds for which the last text is shown if it has no duration."""
_WRITERS: Mapping[str, Writer] = {
    "mp4": write_mp4,
    "mov": write_mp4,
    "matroska": write_srt,
    "webm": write_vtt,
}
"""How a text is written, by FFmpeg's name of the muxer."""


@dataclass(frozen=True)
class _Cue:
    """A text and the time for which it is shown, `[start, stop)` in milliseconds."""

    start: int
    stop: int
    text: Text


def add_text_stream(output: OutputContainer, codec: str) -> Stream:
    """Add a stream of text subtitles to an output whose header is not written yet.

    Args:
        output: an MP4, MOV, Matroska or WebM file.
        codec: the container's codec, `mov_text`, `subrip` or `webvtt`.
    """
    if codec != "mov_text":
        return output.add_mux_stream(codec, time_base=_MILLISECOND)
    stream = output.add_stream("mov_text", time_base=_MILLISECOND)
    # FFmpeg makes the sample entry of MP4 from an ASS header, which its decoders of text provide.
    decoder = CodecContext.create("subrip", "r")
    decoder.open()
    stream.codec_context.subtitle_header = decoder.subtitle_header
    stream.codec_context.time_base = _MILLISECOND
    return stream


def convert_text(packets: Iterable[AnyPacket], stream: SubtitleStream, copy: Stream) -> Iterator[AnyPacket]:
    """Yield packets of text subtitles in another container's format, at the same times.

    MP4 can't show two texts at once: those that overlap become one, one above the other.

    Args:
        packets: packets of SubRip, WebVTT or MP4 subtitles, in display order.
        stream: the source's subtitle stream.
        copy: the output's stream, from `add_text_stream`.
    """
    write = _WRITERS[copy.container.format.name]
    cues = _read_cues(packets, reader_of(stream))
    for cue in _separate(cues) if write is write_mp4 else cues:
        packet = Packet(write(cue.text))
        packet.stream, packet.time_base, packet.is_keyframe = copy, _MILLISECOND, True
        packet.pts = packet.dts = cue.start
        packet.duration = cue.stop - cue.start
        yield packet


def _read_cues(packets: Iterable[AnyPacket], read: Reader) -> Iterator[_Cue]:
    """Yield the cues of packets; one without a duration lasts until the next, empty or not."""
    unended: _Cue | None = None
    for packet in packets:
        start = round(begin_of(packet) / _MILLISECOND)
        if unended:
            yield replace(unended, stop=max(start, unended.start))
        duration = round((packet.duration or 0) * packet.time_base / _MILLISECOND)
        cue = _Cue(start, start + duration, read(bytes(packet)))
        unended = cue if cue.text and not duration else None
        if cue.text and duration:
            yield cue
    if unended:
        yield replace(unended, stop=unended.start + _USUAL_DURATION)


def _separate(cues: Iterable[_Cue]) -> Iterator[_Cue]:
    """Yield cues that show the same, no two of which overlap."""
    shown: list[_Cue] = []
    now = 0
    for cue in cues:
        yield from _stacked(shown, now, max(now, cue.start))
        now = max(now, cue.start)
        shown = [*(each for each in shown if each.stop > now), cue]
    yield from _stacked(shown, now, max((each.stop for each in shown), default=now))


def _stacked(shown: Sequence[_Cue], start: int, stop: int) -> Iterator[_Cue]:
    """Yield the stacked texts of the cues shown from `start` to `stop`, a new cue whenever one ends."""
    borders = sorted({start, stop, *(cue.stop for cue in shown if start < cue.stop < stop)})
    for begin, end in pairwise(borders):
        texts = [cue.text for cue in shown if cue.stop >= end]
        if texts:
            yield _Cue(begin, end, stack(texts))
