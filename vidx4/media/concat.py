"""Videos that were cut from one, one after another."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
from av.stream import Stream
from av.video.stream import VideoStream

from vidx4.media.atomic import write_whole
from vidx4.media.container import AnyPacket, open_source, read_packets
from vidx4.media.formats.containers import format_of
from vidx4.media.headers import add_copies, add_video, describe_output, finish_layout, muxer_options
from vidx4.media.output import Output
from vidx4.media.probe import probe
from vidx4.media.streams import choose_streams
from vidx4.media.target import Target
from vidx4.video import WHOLE, HdrMetadata


def concatenate(pieces: Sequence[Path], output: Path, target: Target) -> None:
    """Write videos one after another into one, packet by packet.

    Sound is kept packet for packet but where that of a piece still lasts when the next begins.

    Args:
        pieces: outputs of `join` for spans of one source with the same encoding and container.
        output: a file of their kind, replaced if it exists.
        target: what their video is.

    Raises:
        OutputError: the file can't be written.
    """
    source = probe(pieces[0])
    streams = choose_streams(source, output.suffix)
    # The stream of a piece has its metadata of HDR already.
    written = Output(output, source, WHOLE, replace(target, hdr=HdrMetadata()), streams)
    with write_whole(output) as unfinished:
        _write(pieces, written, unfinished)
        finish_layout(unfinished, written)


def _write(pieces: Sequence[Path], written: Output, unfinished: Path) -> None:
    source = written.source
    with (
        open_source(pieces[0]) as first,
        av.open(
            str(unfinished),
            "w",
            format=format_of(written.suffix),
            container_options=muxer_options(written.suffix, source, first),
        ) as container,
    ):
        video = first.streams[source.video_index]
        assert isinstance(video, VideoStream)
        copies: dict[int, Stream] = {
            source.video_index: add_video(container, video, pieces[0], video, written),
            **add_copies(container, first, written),
        }
        describe_output(container, first, written)
        for packet, index in _packets(pieces, tuple(copies)):
            packet.stream = copies[index]
            container.mux(packet)


def _packets(pieces: Sequence[Path], indices: Sequence[int]) -> Iterator[tuple[AnyPacket, int]]:
    """Yield packets on the clock of the whole, and the stream that each belongs to."""
    ends: dict[int, Fraction] = {}
    start = Fraction(0)
    for piece in pieces:
        source = probe(piece)
        with open_source(piece) as container:
            for packet in read_packets(container, *(container.streams[index] for index in indices)):
                index = packet.stream_index
                _move(packet, start)
                when = (packet.dts or 0) * packet.time_base
                if index != source.video_index and when < ends.get(index, when):
                    continue
                ends[index] = when + (packet.duration or 0) * packet.time_base
                yield packet, index
        start += source.stop_pts * source.time_base


def _move(packet: AnyPacket, seconds: Fraction) -> None:
    ticks = round(seconds / packet.time_base)
    packet.pts = None if packet.pts is None else packet.pts + ticks
    packet.dts = None if packet.dts is None else packet.dts + ticks
