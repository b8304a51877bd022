"""Parts and every other stream of the source to the output."""

import heapq
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError

from vidx4.errors import OutputError, SourceError
from vidx4.media.container import AnyPacket, open_source, read_packets
from vidx4.media.layout import add_copies, add_video, describe_output, muxer_options
from vidx4.media.suffix import format_of
from vidx4.media.timeline import Cut, time_copies, time_frames
from vidx4.media.whole import check_writable, write_whole
from vidx4.video import WHOLE, Source, TimeRange

_SEEK_MARGIN = 10
"""Seconds around a span that are read, too: subtitles last, and streams are interleaved loosely."""
_HALF_MILLISECOND = Fraction(1, 2000)


def check_output(source: Source, output: Path, *, overwrite: bool = False) -> None:
    """Make sure, before any work, that an output can be written without loss to what exists.

    Raises:
        OutputError: the output exists and `overwrite` is not set, is the source itself, or is of a kind
            that is not written.
    """
    format_of(output.suffix)
    check_writable(output, source.path, overwrite)


def join(
    parts: Sequence[Path],
    source: Source,
    output: Path,
    span: TimeRange = WHOLE,
    *,
    overwrite: bool = False,
) -> tuple[int, ...]:
    """Write the frames of the parts with everything else that the source holds.

    Audio, subtitles, attachments, chapters and metadata are copied as they are; `lost_streams` tells what
    the container can't hold. A whole video keeps its timestamps; a span begins at 0, with the packets
    that overlap it and without other videos and covers.

    Args:
        parts: files of `encode_part`, in ascending order of pts.
        source: what the parts were made from.
        output: where the video shall appear.
        span: what the parts cover.
        overwrite: whether an output that exists is replaced; the source never is.

    Returns:
        The pts of the frames of the span that no part holds, since they could not be decoded.

    Raises:
        OutputError: `check_output` objects, or the file can't be written in full.
        SourceError: the source can't be read any more, or no part holds a frame.
    """
    check_output(source, output, overwrite=overwrite)
    parts = [part for part in parts if part.stat().st_size]  # one without a frame is empty
    if not parts:
        raise SourceError(f"No frame of {source.path} could be decoded.")
    cut = Cut.of(source, span)
    with write_whole(output) as unfinished:
        times = _mux(parts, source, unfinished, output.suffix.lower(), cut)
        _check_written(unfinished, output, times)
    start, stop = span.pts_bounds(source)
    expected = (pts for pts in source.pts if start <= pts < stop)
    present = set(times)
    return tuple(pts for pts in expected if pts * source.time_base - cut.origin not in present)


def _mux(parts: Sequence[Path], source: Source, unfinished: Path, suffix: str, cut: Cut) -> list[Fraction]:
    """Write the output, and return the seconds at which its frames are shown, in the order of decoding."""
    times = []
    with (
        open_source(source.path) as original,
        open_source(parts[0]) as part,
        _create(unfinished, suffix, muxer_options(suffix, source, original)) as output,
    ):
        template = part.streams.video[0]
        video = add_video(output, template, original.streams[source.video_index], source)
        copies = add_copies(output, original, source, suffix, cut)
        describe_output(output, original, cut)
        frames = time_frames(_part_packets(parts), source, cut, template.codec_context.reorder_depth)
        others = time_copies(_source_packets(original, tuple(copies), cut), cut)
        for packet in heapq.merge(frames, others, key=_decoding_time):
            if packet.stream.container is original:
                packet.stream = copies[packet.stream.index]
            else:
                times.append((packet.pts or 0) * packet.time_base)
                packet.stream = video
            output.mux(packet)
    return times


def _create(path: Path, suffix: str, options: dict[str, str]) -> OutputContainer:
    return av.open(str(path), "w", format=format_of(suffix), container_options=options)


def _decoding_time(packet: AnyPacket) -> Fraction:
    return (packet.dts or 0) * packet.time_base


def _part_packets(parts: Sequence[Path]) -> Iterator[AnyPacket]:
    for path in parts:
        with open_source(path) as part:
            yield from read_packets(part, part.streams.video[0])


def _source_packets(original: InputContainer, indices: Sequence[int], cut: Cut) -> Iterator[AnyPacket]:
    """Yield the packets of some streams around the cut."""
    if not indices:
        return
    if not cut.is_whole and cut.start > _SEEK_MARGIN:
        with suppress(FFmpegError):  # then the file is read from its beginning
            original.seek(int((cut.start - _SEEK_MARGIN) * av.time_base))
    for packet in read_packets(original, *(original.streams[index] for index in indices)):
        if not cut.is_whole and _decoding_time(packet) > cut.stop + _SEEK_MARGIN:
            return
        yield packet


def _check_written(unfinished: Path, output: Path, times: Sequence[Fraction]) -> None:
    """Make sure that a file holds the frames that it was given, at their times in seconds."""
    with open_source(unfinished) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in read_packets(container, stream) if not packet.is_discard]
        found = sorted((packet.pts or 0) * packet.time_base for packet in packets)
        tolerance = _HALF_MILLISECOND if container.format.name.startswith("matroska") else 0
    given = sorted(times)
    if len(found) != len(given) or any(abs(a - b) > tolerance for a, b in zip(found, given, strict=True)):
        raise OutputError(
            f"{output} could not be written: {len(given)} frames were given, and the file holds {len(found)} "
            "or shows them at other times."
        )
