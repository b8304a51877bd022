"""Write parts and every other stream of the source to the output."""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Stream

from vidx4.errors import SourceError
from vidx4.files.write import write_whole
from vidx4.media.checks import check_kept
from vidx4.media.container import AnyPacket, open_part, open_source, read_packets
from vidx4.media.formats.edit_lists import set_movie_timescale
from vidx4.media.headers import add_copies, add_video, describe_output, finish_layout, open_output
from vidx4.media.output import Output
from vidx4.media.pictures.write_sequence import write_pictures
from vidx4.media.place import check_folder, check_writable
from vidx4.media.tracks.captions import add_captions
from vidx4.media.tracks.convert import converted, part_of
from vidx4.media.tracks.subtitle_trim import begin_of
from vidx4.media.tracks.timeline import Cut, time_copies, time_frames
from vidx4.video import STEADY

_CUT_KINDS = frozenset({"audio", "subtitle"})
"""Kinds of streams that a range cuts at its own beginning and end, not at those of packets."""
_NUM_AHEAD = 64
"""Packets to look through for the first of each copied stream."""
_SEEK_MARGIN = 10
"""Seconds to read before and after a span: subtitles last, and streams are interleaved loosely."""


def join(
    parts: Sequence[Path],
    output: Output,
    *,
    overwrite: bool = False,
    accept_loss: bool = False,
    check: Callable[[], object] = lambda: None,
) -> tuple[int, ...]:
    """Write the frames of the parts, and everything else that an output should hold.

    Streams are copied as they are, or converted as the output says. A whole video keeps its timestamps,
    unless its container needs others (`Output.cut`); a span begins at 0, with the packets that overlap it.

    Args:
        parts: files of `encode_part`, in ascending order of pts.
        output: what to write, and where it should appear.
        overwrite: whether an existing file is replaced; the source never is.
        accept_loss: whether a loss that `verify_output` finds is only logged.
        check: called before the file appears; raises an error if it must not.

    Returns:
        The pts of the frames of the span that no part holds because they could not be decoded.

    Raises:
        OutputError: the file exists, or can't be written in full.
        SourceError: the source can't be read any more, or no part holds a frame.
    """
    source = output.source
    if output.is_pictures:
        check_folder(output.path.parent, source.path, output.path.name, overwrite=overwrite)
    else:
        check_writable(output.path, source.path, overwrite)
    parts = [part for part in parts if part.stat().st_size]  # the file of a part without a frame is empty
    if not parts:
        raise SourceError(f"No frame of {source.path} could be decoded.")
    if output.is_pictures:
        missing = _missing(output, _write_pictures(parts, output, overwrite))
        check_kept(output, output.path, missing, accept_loss=accept_loss)
        return missing
    with write_whole(output.path, overwrite=overwrite, like=source.path) as unfinished:
        missing = _missing(output, write_streams(parts, output, unfinished))
        check_kept(output, unfinished, missing, accept_loss=accept_loss)
        check()
    return missing


def _missing(output: Output, present: set[int]) -> tuple[int, ...]:
    return tuple(pts for pts in output.frames if pts not in present)


def _write_pictures(parts: Sequence[Path], output: Output, overwrite: bool) -> set[int]:
    """Write numbered pictures, each a packet of the parts; return the pts of their frames."""
    present: set[int] = set()
    folder, pattern = output.path.parent, output.path.name
    packets = _part_packets(parts, output, present)
    write_pictures(packets, folder, pattern, overwrite=overwrite, like=output.source.path)
    return present


def write_streams(parts: Sequence[Path], output: Output, path: Path) -> set[int]:
    """Write the file of an output, whatever is at its path.

    Args:
        parts: files of `encode_part` that hold a frame, in ascending order of pts.
        output: what to write.
        path: where to write it.

    Returns:
        The pts of its frames on the source's clock.

    Raises:
        FFmpegError: the container refuses it.
    """
    present = _mux(parts, output, path)
    finish_layout(path, output)
    return present


def _mux(parts: Sequence[Path], output: Output, unfinished: Path) -> set[int]:
    """Write all packets, and return the pts of the frames on the source's clock."""
    source, cut = output.source, output.cut
    present: set[int] = set()
    with (
        open_source(source.path) as original,
        open_part(parts[0], output.target.part_format) as part,
        open_output(unfinished, output, original) as container,
        ExitStack() as stack,
    ):
        template = part.streams.video[0]
        video = add_video(container, template, parts[0], original.streams[source.video_index], output)
        copies = add_copies(container, original, output)
        describe_output(container, original, output)
        enlarged = _frame_packets(parts, output, present)
        frames = time_frames(enlarged, source, cut, template.codec_context.reorder_depth)

        def stream_of(packet: AnyPacket) -> Stream:
            if packet.stream.container is original:
                return copies[packet.stream.index]
            return packet.stream if packet.stream.container is container else video

        starts: dict[int, Fraction] = {}
        several = [(frames, 1), *_others(original, output, copies, stack)]
        packets = [_noting_starts(each, number, starts, stream_of) for each, number in several]
        set_movie_timescale(container, starts)
        container.start_encoding()  # opens the encoders of converted streams before they are used
        for packet in heapq.merge(*packets, key=_decoding_time):
            packet.stream = stream_of(packet)
            container.mux(packet)
    return present


def _noting_starts(
    packets: Iterator[AnyPacket],
    number: int,
    starts: dict[int, Fraction],
    stream_of: Callable[[AnyPacket], Stream],
) -> Iterator[AnyPacket]:
    """Read some packets ahead; note when the first of each stream of the output begins, by its index."""
    head = list(islice(packets, number))
    for packet in head:
        starts.setdefault(stream_of(packet).index, begin_of(packet))
    return chain(head, packets)


def _others(
    original: InputContainer, output: Output, copies: Mapping[int, Stream], stack: ExitStack
) -> Iterator[tuple[Iterator[AnyPacket], int]]:
    """Yield the packets of all streams that are just copied, then those of each that is converted or cut.

    With them comes the number that may be read before the header is written.
    """
    cut, apart = output.cut, {}
    for each in output.streams.carried:
        if each.codec:
            apart[each.stream.index] = converted
        elif each.stream.kind in _CUT_KINDS and not cut.is_whole:
            apart[each.stream.index] = part_of
    yield time_copies(_source_packets(original, tuple(copies.keys() - apart.keys()), cut), cut), _NUM_AHEAD
    for index, packets_of in sorted(apart.items()):
        again = stack.enter_context(open_source(output.source.path))
        # Those of converted audio come from an encoder, which is not open yet.
        yield packets_of(again, again.streams[index], copies[index], cut), int(packets_of is part_of)


def _decoding_time(packet: AnyPacket) -> Fraction:
    return (packet.dts or 0) * packet.time_base


def _frame_packets(parts: Sequence[Path], output: Output, present: set[int]) -> Iterator[AnyPacket]:
    """Return the packets of parts, with the source's closed captions if the output holds them."""
    source = output.source
    if not output.keeps_captions:
        return _part_packets(parts, output, present)
    return add_captions(
        lambda: _part_packets(parts, output, present),
        source,
        output.made_span,
        output.target.encoder.bitstream,
    )


def _part_packets(parts: Sequence[Path], output: Output, present: set[int]) -> Iterator[AnyPacket]:
    """Yield the packets of parts; add the pts of their frames to a set."""
    for path in parts:
        with open_part(path, output.target.part_format) as part:
            for packet in read_packets(part, part.streams.video[0]):
                present.add(round((packet.pts or 0) * packet.time_base / output.source.time_base))
                yield packet


def _source_packets(original: InputContainer, indices: Sequence[int], cut: Cut) -> Iterator[AnyPacket]:
    """Yield the packets of some streams around the cut."""
    if not indices:
        return
    if not cut.is_whole and cut.start > _SEEK_MARGIN and cut.clock == STEADY:
        with suppress(FFmpegError):  # if it can't be sought, it is read from the beginning
            original.seek(int((cut.start - _SEEK_MARGIN) * av.time_base))
    streams = [original.streams[index] for index in indices]
    packets = read_packets(original, *streams, clock=cut.clock)
    for packet in cut.first_packets(packets, streams):
        if not cut.is_whole and _decoding_time(packet) > cut.stop + _SEEK_MARGIN:
            return
        yield packet
