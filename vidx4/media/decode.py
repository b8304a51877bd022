"""Source to frames."""

from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import chain, dropwhile, islice

import numpy as np
import torch
from av.container import InputContainer
from av.error import EOFError as EndOfFileError
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vidx4.errors import SourceError
from vidx4.frames import FrameBatch, pixel_dtype
from vidx4.media.container import (
    AnyPacket,
    is_cut_off,
    knows_order,
    open_source,
    packet_pts,
    read_frame_packets,
)
from vidx4.media.damage import Damage
from vidx4.media.display.color import Converter, check_matrix
from vidx4.media.fields.deinterlace import context_start, context_stop, treated_frames
from vidx4.video import WHOLE, Source, TimeRange


def read_batches(
    source: Source,
    batch_size: int,
    span: TimeRange = WHOLE,
    wants: Callable[[int], bool] = lambda pts: True,
    damage: Damage | None = None,
    on_packet: Callable[[], object] = lambda: None,
) -> Generator[FrameBatch]:
    """Yield the frames of a span in the order in which they are shown, `batch_size` at a time.

    A frame that can't be decoded is missing; `Source.pts` tells which. Closing the generator closes the file.

    Args:
        source: the video.
        batch_size: the number of frames of all batches but the last.
        span: the part of the video that is wanted.
        wants: tells by its pts whether a frame of the span is wanted. Others are decoded all the same, since
            what a decoder gives may depend on where it began, and cost no more than that.
        damage: gets to know what can't be decoded.
        on_packet: called for every packet, also for those of frames that are not wanted: decoding goes on.

    Raises:
        SourceError: no frame of the span can be decoded, or the picture changes its size.
    """
    check_matrix(source.color, source.path)
    start, stop = span.pts_bounds(source)
    shown = _frames(source, start, stop, _Notes(Damage() if damage is None else damage, on_packet))
    frames = (frame for frame in shown if frame.pts is not None and wants(frame.pts))
    converter = Converter()
    batch = list(islice(frames, batch_size))
    if not batch:
        raise SourceError(f"No frame of {source.path} can be decoded in the range that was asked for.")
    while batch:
        yield _to_batch(source, batch, converter)
        batch = list(islice(frames, batch_size))


@dataclass(frozen=True)
class _Notes:
    """Who hears of what happens."""

    damage: Damage
    on_packet: Callable[[], object]


def can_seek(source: Source) -> bool:
    """Return whether frames can be had without decoding all before them."""
    with open_source(source.path) as container:
        return knows_order(container)


def _to_batch(source: Source, frames: list[VideoFrame], converter: Converter) -> FrameBatch:
    pix_fmt = "rgb24" if pixel_dtype(source.bit_depth) == torch.uint8 else "rgb48le"
    pixels = np.stack([converter.to_rgb(frame, source.color, pix_fmt).to_ndarray() for frame in frames])
    data = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()  # from (N, H, W, 3)
    return FrameBatch(data, tuple(frame.pts for frame in frames if frame.pts is not None))


def _frames(source: Source, start: int, stop: int, notes: _Notes) -> Iterator[VideoFrame]:
    """Yield the frames with `start <= pts < stop`, in ascending order of pts, each once, made whole."""
    if source.untreated is None:
        yield from _stored_frames(source, start, stop, notes)
        return
    stored, first = source.untreated, context_start(source, start)
    end = min(context_stop(source, stop), stored.stop_pts)
    frames = _stored_frames(stored, stored.pts[first], end, notes)
    for frame in treated_frames(frames, source, first):
        if frame.pts is not None and start <= frame.pts < stop:
            yield frame


def _stored_frames(source: Source, start: int, stop: int, notes: _Notes) -> Iterator[VideoFrame]:
    """Yield the frames with `start <= pts < stop`, in ascending order of pts, each once."""
    last = start - 1
    for frame in _frames_from(source, range(start, stop), notes):
        _check_size(source, frame)
        if frame.pts is None or frame.pts <= last or not _is_known(source, frame.pts):
            continue
        if frame.pts >= stop:
            return
        if frame.is_corrupt:
            notes.damage.frames.add(source.seconds_of(frame.pts))
        last = frame.pts
        yield frame


def _is_known(source: Source, pts: int) -> bool:
    index = bisect_left(source.pts, pts)
    return index < len(source.pts) and source.pts[index] == pts


def _frames_from(source: Source, span: range, notes: _Notes) -> Iterator[VideoFrame]:
    """Yield frames from the start of a span of pts on, or from the beginning of the video.

    After a seek a decoder may hold frames back until it has recovered: where the first frame that is
    wanted does not come, all are decoded.
    """
    start = span.start
    index = bisect_left(source.pts, start)
    if index == source.num_frames:
        return
    if index > 0 and (target := _seek_target(source, start)) is not None:
        frames = _decode(source, span, notes, target)
        first = next((frame for frame in frames if frame.pts is not None and frame.pts >= start), None)
        if first is not None and first.pts == source.pts[index]:
            yield first
            yield from frames
            return
    yield from _decode(source, span, notes)


def _decode(source: Source, span: range, notes: _Notes, target: int | None = None) -> Iterator[VideoFrame]:
    """Yield all frames, or those from the first keyframe after a seek; note failures inside the span."""
    damage = notes.damage

    def note(pts: int) -> None:
        if pts in span:
            damage.packets.add(source.seconds_of(pts))

    with open_source(source.path) as container:
        stream = _video_stream(container, source)
        # With threads, what a decoder makes of damaged packets depends on how these run.
        stream.thread_type = "NONE"
        if target is not None:
            container.seek(target, stream=stream)
        packets = _noted_packets(container, stream, source, notes)
        if target is not None:
            packets = dropwhile(lambda packet: not packet.is_keyframe, packets)
        decode = _decode_packets if knows_order(container) else _decode_in_order
        yield from decode(container, stream, packets, note)


def _noted_packets(
    container: InputContainer, stream: VideoStream, source: Source, notes: _Notes
) -> Iterator[AnyPacket]:
    def end() -> None:
        notes.damage.end = source.seconds_of(source.stop_pts)

    for packet in read_frame_packets(container, stream, on_error=end):
        notes.on_packet()
        yield packet
    if is_cut_off(source.path):
        end()


def _seek_target(source: Source, start: int) -> int | None:
    """Return a pts from which seeking leads to a keyframe shown at or before `start`, None if none does.

    A container seeks by decoding time or by bytes, so what it finds for `start` itself may be shown later.
    """
    with open_source(source.path) as container:
        stream = _video_stream(container, source)
        target, step = start, max(1, int(1 / source.time_base))
        while knows_order(container) and target > source.pts[0]:
            if _leads_to_keyframe(container, stream, target, start):
                return target
            target, step = target - step, 2 * step
    return None


def _leads_to_keyframe(container: InputContainer, stream: VideoStream, target: int, start: int) -> bool:
    try:
        container.seek(target, stream=stream)
    except FFmpegError:
        return False
    keyframe = next((packet for packet in read_frame_packets(container, stream) if packet.is_keyframe), None)
    return keyframe is not None and keyframe.pts is not None and keyframe.pts <= start


def _video_stream(container: InputContainer, source: Source) -> VideoStream:
    stream = container.streams[source.video_index]
    assert isinstance(stream, VideoStream)
    return stream


def _check_size(source: Source, frame: VideoFrame) -> None:
    if (frame.width, frame.height) != (source.width, source.height):
        seconds = float(((frame.pts or 0) - source.pts[0]) * source.time_base)
        raise SourceError(
            f"The picture of {source.path} changes at {seconds:.1f} s from {source.width}x{source.height} to "
            f"{frame.width}x{frame.height}: cut the video there, and enlarge its pieces one by one."
        )


def _decode_packets(
    container: InputContainer,
    stream: VideoStream,
    packets: Iterator[AnyPacket],
    on_failure: Callable[[int], object],
) -> Iterator[VideoFrame]:
    pts = 0
    for index, packet in enumerate(chain(packets, [None])):
        pts = pts if packet is None else packet_pts(container, packet, index)
        try:
            yield from stream.decode(packet)
        except EndOfFileError:
            return
        except FFmpegError:
            on_failure(pts)


def _decode_in_order(
    container: InputContainer,
    stream: VideoStream,
    packets: Iterator[AnyPacket],
    on_failure: Callable[[int], object],
) -> Iterator[VideoFrame]:
    """Decode a stream whose packets have times, but not those of their own frames.

    A decoder gives the frames in the order in which they are shown, so each takes the earliest time left.
    """
    pending: list[int] = []

    def noted() -> Iterator[AnyPacket]:
        for index, packet in enumerate(packets):
            heappush(pending, packet_pts(container, packet, index))
            yield packet

    for frame in _decode_packets(container, stream, noted(), on_failure):
        frame.pts = heappop(pending) if pending else None
        yield frame
