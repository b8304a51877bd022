"""Join videos that were cut from one."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from av.stream import Stream
from av.video.stream import VideoStream

from vidx4.media.atomic import write_whole
from vidx4.media.container import AnyPacket, complete_times, open_source, read_packets
from vidx4.media.headers import add_copies, add_video, describe_output, finish_layout, open_output
from vidx4.media.output import Output
from vidx4.media.probe import probe


def concatenate(pieces: Sequence[Path], path: Path, like: Output) -> None:
    """Write videos one after another into one, packet by packet.

    Sound is kept packet for packet, except where that of one piece still lasts when the next begins.

    Args:
        pieces: outputs of `join` for spans of one source, with the same encoder and container.
        path: a file of their kind, replaced if it exists.
        like: what one of the pieces was planned to hold.

    Raises:
        OutputError: the file can't be written.
    """
    written = like.of_pieces(path, probe(pieces[0]))
    with write_whole(path) as unfinished:
        _write(pieces, written, unfinished)
        finish_layout(unfinished, written)


def _write(pieces: Sequence[Path], written: Output, unfinished: Path) -> None:
    source = written.source
    with (
        open_source(pieces[0]) as first,
        open_output(unfinished, written, first) as container,
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
    """Yield packets, moved to the times of the whole, and the index of their stream."""
    ends: dict[int, Fraction] = {}
    start: Fraction | None = None
    for piece in pieces:
        source = probe(piece)
        begin = source.pts[0] * source.time_base  # not 0 in MPEG-TS
        start = begin if start is None else start
        with open_source(piece) as container:
            packets = read_packets(container, *(container.streams[index] for index in indices))
            for packet in complete_times(packets):
                index = packet.stream_index
                _move(packet, start - begin)
                when = (packet.dts or 0) * packet.time_base
                if index != source.video_index and when < ends.get(index, when):
                    continue
                ends[index] = when + (packet.duration or 0) * packet.time_base
                yield packet, index
        start += source.duration


def _move(packet: AnyPacket, seconds: Fraction) -> None:
    ticks = round(seconds / packet.time_base)
    packet.pts = None if packet.pts is None else packet.pts + ticks
    packet.dts = None if packet.dts is None else packet.dts + ticks
