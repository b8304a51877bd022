"""Join videos that were cut from one."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from av.stream import Stream
from av.video.stream import VideoStream

from vidx4.files.write import write_whole
from vidx4.media.container import AnyPacket, complete_times, open_source, read_packets
from vidx4.media.formats.edit_lists import set_movie_timescale
from vidx4.media.headers import add_copies, add_video, describe_output, finish_layout, open_output
from vidx4.media.output import Output
from vidx4.media.probe import probe


def concatenate(pieces: Sequence[Output], path: Path, *, overwrite: bool = True) -> None:
    """Write videos one after another into one, packet by packet.

    Sound is kept packet for packet, except where that of one piece still lasts when the next begins.

    Args:
        pieces: spans of one source that `join` has written, with the same encoder and container.
        path: a file of their kind.
        overwrite: whether a file that exists is replaced.

    Raises:
        OutputError: the file can't be written.
    """
    written = pieces[0].of_pieces(path, probe(pieces[0].path))
    with write_whole(path, overwrite=overwrite, like=pieces[0].path) as unfinished:
        _write(pieces, written, unfinished)
        finish_layout(unfinished, written)


def _write(pieces: Sequence[Output], written: Output, unfinished: Path) -> None:
    source = written.source
    with (
        open_source(pieces[0].path) as first,
        open_output(unfinished, written, first) as container,
    ):
        video = first.streams[source.video_index]
        assert isinstance(video, VideoStream)
        copies: dict[int, Stream] = {
            source.video_index: add_video(container, video, pieces[0].path, video, written),
            **add_copies(container, first, written),
        }
        describe_output(container, first, written)
        set_movie_timescale(container, {})
        for packet, index in _packets(pieces, source.video_index, tuple(copies)):
            packet.stream = copies[index]
            container.mux(packet)


def _packets(
    pieces: Sequence[Output], video_index: int, indices: Sequence[int]
) -> Iterator[tuple[AnyPacket, int]]:
    """Yield packets, moved to the times of the whole, and the index of their stream."""
    ends: dict[int, Fraction] = {}
    last_dts = -(1 << 62)
    start = pieces[0].cut.start - pieces[0].cut.origin  # not 0 in MPEG-TS
    for piece in pieces:
        cut = piece.cut
        with open_source(piece.path) as container:
            packets = read_packets(container, *(container.streams[index] for index in indices))
            for packet in complete_times(packets):
                index = packet.stream_index
                _move(packet, start - (cut.start - cut.origin))
                if index == video_index:
                    # The first frames of a piece may be decoded long before they are shown.
                    packet.dts = last_dts = max(packet.dts or 0, last_dts + 1)
                    yield packet, index
                    continue
                when = (packet.dts or 0) * packet.time_base
                if when >= ends.get(index, when):
                    ends[index] = when + (packet.duration or 0) * packet.time_base
                    yield packet, index
        start += cut.stop - cut.start


def _move(packet: AnyPacket, seconds: Fraction) -> None:
    ticks = round(seconds / packet.time_base)
    packet.pts = None if packet.pts is None else packet.pts + ticks
    packet.dts = None if packet.dts is None else packet.dts + ticks
