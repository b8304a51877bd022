"""Source to frames."""

import errno
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, dropwhile

import torch
from av.container import InputContainer
from av.error import EOFError as EndOfFileError
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from torch import Tensor

from vidx4.errors import SourceError
from vidx4.frames import Frame, pixel_dtype
from vidx4.media.container import (
    AnyPacket,
    is_cut_off,
    knows_order,
    open_source,
    packet_pts,
    read_frame_packets,
)
from vidx4.media.damage import Damage
from vidx4.media.display.color import Converter, check_colors
from vidx4.media.fields.deinterlace import context_start, context_stop, treated_frames
from vidx4.media.timing.frame_index import frame_index
from vidx4.media.timing.frame_times import name_packets, set_number
from vidx4.video import WHOLE, Source, TimeRange

_SLACK = 1
"""Seconds by which the last packet may seem to come early."""


def read_frames(
    source: Source,
    span: TimeRange = WHOLE,
    wants: Callable[[int], bool] = lambda pts: True,
    damage: Damage | None = None,
    on_packet: Callable[[], object] = lambda: None,
) -> Generator[Frame]:
    """Yield the frames of a span in presentation order.

    Frames that can't be decoded are skipped; compare with `Source.pts` to find them. Closing the generator
    closes the file.

    Args:
        source: the video.
        span: the part of the video to read.
        wants: whether the frame at a pts of the span is wanted. Unwanted frames are decoded, but not
            converted: what a decoder returns may depend on where it started.
        damage: records what can't be decoded.
        on_packet: called for every packet, those of unwanted frames included, as a sign of progress.

    Raises:
        SourceError: no wanted frame can be decoded, or the picture changes its size.
    """
    check_colors(source.color, source.pix_fmt, source.path)
    start, stop = span.pts_bounds(source)
    monitor = _Monitor(Damage() if damage is None else damage, on_packet)
    converter, is_empty = Converter(), True
    for frame in _decoded_frames(source, start, stop, monitor):
        if frame.pts is not None and wants(frame.pts):
            is_empty = False
            yield Frame(_to_rgb(source, frame, converter), frame.pts)
    if is_empty:
        raise SourceError(f"No frame of {source.path} can be decoded in the requested range.")


def unreadable_frames(source: Source, frames: Sequence[int]) -> tuple[int, ...]:
    """Return those of some frames, given by ascending pts, that can't be decoded."""
    monitor = _Monitor(Damage(), lambda: None)
    read = {frame.pts for frame in _decoded_frames(source, frames[0], frames[-1] + 1, monitor)}
    return tuple(pts for pts in frames if pts not in read)


def stored_frames(source: Source, start: int, stop: int) -> Iterator[VideoFrame]:
    """Yield all that a decoder returns from about a pts on, for what frames hold beside pixels.

    Args:
        source: the video with its frames as they are stored.
        start: the pts of the first wanted frame, or one before it.
        stop: where the caller will end.
    """
    return _frames_from(source, range(start, stop), _Monitor(Damage(), lambda: None))


@dataclass(frozen=True)
class _Monitor:
    """Callees that are notified while packets are decoded."""

    damage: Damage
    on_packet: Callable[[], object]


def can_seek(source: Source) -> bool:
    """Return whether a frame can be read without decoding everything before it."""
    if source.packet_frames is not None:
        return False
    with open_source(source.path) as container:
        return knows_order(container)


def _to_rgb(source: Source, frame: VideoFrame, converter: Converter) -> Tensor:
    """Return the pixels of a frame, uint8 or uint16, (3, H, W)."""
    pix_fmt = "rgb24" if pixel_dtype(source.bit_depth) == torch.uint8 else "rgb48le"
    pixels = converter.to_rgb(frame, source.color, pix_fmt).to_ndarray()
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()  # from (H, W, 3)


def _decoded_frames(source: Source, start: int, stop: int, monitor: _Monitor) -> Iterator[VideoFrame]:
    """Yield the frames with `start <= pts < stop`, ascending, each once, after any deinterlacing."""
    if source.untreated is None:
        yield from _stored_frames(source, start, stop, monitor)
        return
    stored, first = source.untreated, context_start(source, start)
    end = min(context_stop(source, stop), stored.stop_pts)
    frames = _stored_frames(stored, stored.pts[first], end, monitor)
    for frame in treated_frames(frames, source, first):
        if frame.pts is not None and start <= frame.pts < stop:
            yield frame


def _stored_frames(source: Source, start: int, stop: int, monitor: _Monitor) -> Iterator[VideoFrame]:
    """Yield the frames with `start <= pts < stop` as they are stored, ascending, each once."""
    last = start - 1
    for frame in _frames_from(source, range(start, stop), monitor):
        _check_size(source, frame)
        # After damage, frames may come without a time, twice or late; and Theora has empty packets, for which
        # a decoder repeats the last frame, but which `Source.pts` doesn't count.
        if frame.pts is None or frame.pts <= last or not _is_known(source, frame.pts):
            continue
        if frame.pts >= stop:
            return
        if frame.is_corrupt:
            monitor.damage.frames.add(source.seconds_of(frame.pts))
        last = frame.pts
        yield frame


def _is_known(source: Source, pts: int) -> bool:
    index = bisect_left(source.pts, pts)
    return index < len(source.pts) and source.pts[index] == pts


def _frames_from(source: Source, span: range, monitor: _Monitor) -> Iterator[VideoFrame]:
    """Yield frames from the start of a span of pts, or from the beginning of the video."""
    start = span.start
    index = bisect_left(source.pts, start)
    if index == source.num_frames:
        return
    may_seek = index > 0 and source.packet_frames is None
    if may_seek and (target := _seek_target(source, start)) is not None:
        frames = _decode(source, span, monitor, target)
        first = next((frame for frame in frames if frame.pts is not None and frame.pts >= start), None)
        # After a seek a decoder may withhold frames until it has recovered (open groups of pictures): if it
        # skips the first wanted frame, everything is decoded from the beginning.
        if first is not None and first.pts == source.pts[index]:
            yield first
            yield from frames
            return
    yield from _decode(source, span, monitor)


def _decode(
    source: Source, span: range, monitor: _Monitor, target: int | None = None
) -> Iterator[VideoFrame]:
    """Yield all frames, or those from the first keyframe after a seek; record failures inside the span."""

    def record_failure(pts: int) -> None:
        if pts in span:
            monitor.damage.packets.add(source.seconds_of(pts))

    with open_source(source.path) as container:
        stream = _video_stream(container, source)
        # With threads, what a decoder makes of damaged packets depends on their timing.
        stream.thread_type = "NONE"
        if target is not None:
            container.seek(target, stream=stream)
        packets = _monitored_packets(container, stream, source, monitor)
        if target is not None:
            packets = dropwhile(lambda packet: not packet.is_keyframe, packets)
        yield from _decode_packets(source, container, packets, record_failure)


def _monitored_packets(
    container: InputContainer, stream: VideoStream, source: Source, monitor: _Monitor
) -> Iterator[AnyPacket]:
    """Yield the packets of frames; record if the file ends too early."""

    def record_end(error: FFmpegError | None) -> None:
        monitor.damage.add_end(source.seconds_of(source.stop_pts), error)

    last = source.pts[0]
    for number, packet in enumerate(read_frame_packets(container, stream, on_error=record_end)):
        monitor.on_packet()
        last = max(last, _time_of(source, container, packet, number))
        yield packet
    if is_cut_off(source.path):
        record_end(None)
    if (source.pts[-1] - last) * source.time_base > _SLACK:
        # Demuxers take errors of the system for the end of the file, but it was read to its end before.
        monitor.damage.doubt(OSError(errno.EIO, "it ends too early"))


def _seek_target(source: Source, start: int) -> int | None:
    """Return a pts from which seeking leads to a keyframe shown at or before `start`; None if none does."""
    with open_source(source.path) as container:
        stream = _video_stream(container, source)
        # Containers seek by decoding time or by bytes, so the keyframe found for `start` may be shown after
        # it. Step back by one second, then two, four ... until it isn't.
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
        raise SourceError(
            f"The picture size of {source.path} changes from {source.width}x{source.height} to "
            f"{frame.width}x{frame.height} at {float(source.seconds_of(frame.pts or 0)):.1f} s: split the "
            "video there and enlarge the pieces separately."
        )


def _decode_packets(
    source: Source,
    container: InputContainer,
    packets: Iterator[AnyPacket],
    on_failure: Callable[[int], object],
) -> Iterator[VideoFrame]:
    """Yield decoded frames with their times, and call with the times of packets that can't be decoded."""
    stream = _video_stream(container, source)
    is_indexed = source.packet_frames is not None
    if is_indexed:
        name_packets(stream)
    index = frame_index(source, stream.codec_context)
    number, pts = 0, 0
    for number, packet in enumerate(chain(packets, [None])):
        if packet is not None:
            index.feed(number)
            pts = _time_of(source, container, packet, number)
            if is_indexed:
                set_number(packet, number)
        try:
            for frame in stream.decode(packet):
                frame.pts = index.time_of(frame)
                yield frame
        except EndOfFileError:
            return
        except FFmpegError:
            index.fail(number)
            on_failure(pts)


def _time_of(source: Source, container: InputContainer, packet: AnyPacket, number: int) -> int:
    """Return the time of the frame in a packet, or of one nearby if none of its own is shown."""
    frames = source.packet_frames
    if frames is None:
        return packet_pts(container, packet, number)
    return source.pts[max(frames[number], 0)] if number < len(frames) else source.stop_pts
