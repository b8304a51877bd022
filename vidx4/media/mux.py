"""Write parts and every other stream of the source to the output."""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Stream

from vidx4.errors import SourceError
from vidx4.media.atomic import check_writable, write_whole, write_whole_folder
from vidx4.media.checks import check_kept
from vidx4.media.container import AnyPacket, open_source, read_packets
from vidx4.media.headers import add_copies, add_video, describe_output, finish_layout, open_output
from vidx4.media.output import Output
from vidx4.media.pictures.write_sequence import check_folder, write_sequence
from vidx4.media.tracks.captions import add_captions
from vidx4.media.tracks.convert import converted, part_of
from vidx4.media.tracks.timeline import Cut, time_copies, time_frames

_CUT_KINDS = frozenset({"audio", "subtitle"})
"""Kinds of streams that a range cuts at its own beginning and end, not at those of packets."""
_SEEK_MARGIN = 10
"""Seconds to read before and after a span: subtitles last, and streams are interleaved loosely."""


def join(
    parts: Sequence[Path], output: Output, *, overwrite: bool = False, accept_loss: bool = False
) -> tuple[int, ...]:
    """Write the frames of the parts, and everything else that an output should hold.

    Streams are copied as they are, or converted as the output says. A whole video keeps its timestamps,
    except in MPEG-TS; a span begins at 0, with the packets that overlap it.

    Args:
        parts: files of `encode_part`, in ascending order of pts.
        output: what to write, and where it should appear.
        overwrite: whether an existing file is replaced; the source never is.
        accept_loss: whether a loss that `verify_output` finds is only logged.

    Returns:
        The pts of the frames of the span that no part holds because they could not be decoded.

    Raises:
        OutputError: the file exists, or can't be written in full.
        SourceError: the source can't be read any more, or no part holds a frame.
    """
    source = output.source
    if output.is_pictures:
        check_folder(output.path.parent, output.path.name, overwrite=overwrite)
    else:
        check_writable(output.path, source.path, overwrite)
    parts = [part for part in parts if part.stat().st_size]  # the file of a part without a frame is empty
    if not parts:
        raise SourceError(f"No frame of {source.path} could be decoded.")
    if output.is_pictures:
        missing = _missing(output, _write_pictures(parts, output))
        check_kept(output, output.path, missing, accept_loss=accept_loss)
        return missing
    with write_whole(output.path) as unfinished:
        missing = _missing(output, _mux(parts, output, unfinished))
        finish_layout(unfinished, output)
        check_kept(output, unfinished, missing, accept_loss=accept_loss)
    return missing


def _missing(output: Output, present: set[int]) -> tuple[int, ...]:
    start, stop = output.span.pts_bounds(output.source)
    return tuple(pts for pts in output.source.pts if start <= pts < stop and pts not in present)


def _write_pictures(parts: Sequence[Path], output: Output) -> set[int]:
    """Write numbered pictures, each a packet of the parts; return the pts of their frames."""
    present: set[int] = set()
    time_base = output.source.time_base

    def noting_pts() -> Iterator[AnyPacket]:
        for packet in _part_packets(parts):
            present.add(round((packet.pts or 0) * packet.time_base / time_base))
            yield packet

    with write_whole_folder(output.path.parent) as unfinished:
        write_sequence(noting_pts(), unfinished, output.path.name)
    return present


def _mux(parts: Sequence[Path], output: Output, unfinished: Path) -> set[int]:
    """Write the output, and return the pts of its frames on the source's clock."""
    source, cut = output.source, output.cut
    present = set()
    with (
        open_source(source.path) as original,
        open_source(parts[0]) as part,
        open_output(unfinished, output, original) as container,
        ExitStack() as stack,
    ):
        template = part.streams.video[0]
        video = add_video(container, template, parts[0], original.streams[source.video_index], output)
        copies = add_copies(container, original, output)
        describe_output(container, original, output)
        frames = time_frames(_frame_packets(parts, output), source, cut, template.codec_context.reorder_depth)
        packets = [frames, *_others(original, output, copies, stack)]
        container.start_encoding()  # opens the encoders of converted streams before they are used
        for packet in heapq.merge(*packets, key=_decoding_time):
            if packet.stream.container is original:
                packet.stream = copies[packet.stream.index]
            elif packet.stream.container is not container:
                present.add(round(((packet.pts or 0) * packet.time_base + cut.origin) / source.time_base))
                packet.stream = video
            container.mux(packet)
    return present


def _others(
    original: InputContainer, output: Output, copies: Mapping[int, Stream], stack: ExitStack
) -> Iterator[Iterator[AnyPacket]]:
    """Yield the packets of all streams that are just copied, then those of each that is converted or cut."""
    cut, apart = output.cut, {}
    for each in output.streams.carried:
        if each.codec:
            apart[each.stream.index] = converted
        elif each.stream.kind in _CUT_KINDS and not cut.is_whole:
            apart[each.stream.index] = part_of
    yield time_copies(_source_packets(original, tuple(copies.keys() - apart.keys()), cut), cut)
    for index, packets_of in sorted(apart.items()):
        again = stack.enter_context(open_source(output.source.path))
        yield packets_of(again, again.streams[index], copies[index], cut)


def _decoding_time(packet: AnyPacket) -> Fraction:
    return (packet.dts or 0) * packet.time_base


def _frame_packets(parts: Sequence[Path], output: Output) -> Iterator[AnyPacket]:
    """Return the packets of parts, with the source's closed captions if the output holds them."""
    if not output.keeps_captions:
        return _part_packets(parts)
    return add_captions(
        lambda: _part_packets(parts), output.source, output.span, output.target.encoder.bitstream
    )


def _part_packets(parts: Sequence[Path]) -> Iterator[AnyPacket]:
    for path in parts:
        with open_source(path) as part:
            yield from read_packets(part, part.streams.video[0])


def _source_packets(original: InputContainer, indices: Sequence[int], cut: Cut) -> Iterator[AnyPacket]:
    """Yield the packets of some streams around the cut."""
    if not indices:
        return
    if not cut.is_whole and cut.start > _SEEK_MARGIN:
        with suppress(FFmpegError):  # if it can't be sought, it is read from the beginning
            original.seek(int((cut.start - _SEEK_MARGIN) * av.time_base))
    for packet in read_packets(original, *(original.streams[index] for index in indices)):
        if not cut.is_whole and _decoding_time(packet) > cut.stop + _SEEK_MARGIN:
            return
        yield packet
