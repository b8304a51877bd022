"""Source to frames."""

import logging
from bisect import bisect_left
from collections.abc import Iterator
from itertools import chain, dropwhile, islice

import numpy as np
import torch
from av.container import InputContainer
from av.error import EOFError as EndOfFileError
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream

from vidx4.errors import SourceError
from vidx4.media.color import SMOOTH, color_range
from vidx4.media.container import AnyPacket, open_source, read_packets
from vidx4.video import WHOLE, FrameBatch, Source, TimeRange

_logger = logging.getLogger(__name__)


def read_batches(source: Source, batch_size: int, span: TimeRange = WHOLE) -> Iterator[FrameBatch]:
    """Yield the frames of a span in the order in which they are shown, `batch_size` at a time.

    A frame that can't be decoded is missing; `Source.pts` tells which.

    Raises:
        SourceError: no frame of the span can be decoded, or the picture changes its size.
    """
    start, stop = span.pts_bounds(source)
    frames = _frames(source, start, stop)
    batch = list(islice(frames, batch_size))
    if not batch:
        raise SourceError(f"No frame of {source.path} can be decoded in the range that was asked for.")
    while batch:
        yield _to_batch(source, batch)
        batch = list(islice(frames, batch_size))


def _to_batch(source: Source, frames: list[VideoFrame]) -> FrameBatch:
    pixels = np.stack([_to_rgb(source, frame) for frame in frames])  # (N, H, W, 3)
    data = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    return FrameBatch(data, tuple(frame.pts for frame in frames if frame.pts is not None))


def _to_rgb(source: Source, frame: VideoFrame) -> np.ndarray:
    if not frame.format.is_rgb:
        frame.colorspace = source.color.matrix
        frame.color_range = color_range(source.color)
    rgb = frame.reformat(
        format="rgb24" if source.pixel_dtype == torch.uint8 else "rgb48le",
        dst_color_range=ColorRange.JPEG,
        interpolation=SMOOTH,
    )
    return rgb.to_ndarray()


def _frames(source: Source, start: int, stop: int) -> Iterator[VideoFrame]:
    """Yield the frames with `start <= pts < stop`, in ascending order of pts."""
    last = start - 1
    for frame in _frames_from(source, start):
        if frame.pts is None or frame.pts <= last:
            continue
        if frame.pts >= stop:
            return
        _check_size(source, frame)
        last = frame.pts
        yield frame


def _frames_from(source: Source, start: int) -> Iterator[VideoFrame]:
    """Yield frames from a little before `start` on.

    After a seek a decoder may hold back frames until it has recovered. Where the first frame of the span
    does not come, the video is decoded from its beginning.
    """
    index = bisect_left(source.pts, start)
    if index == len(source.pts):
        return
    if index > 0:
        frames = dropwhile(lambda frame: frame.pts is None or frame.pts < start, _decode(source, start))
        first = next(frames, None)
        if first is not None and first.pts == source.pts[index]:
            yield first
            yield from frames
            return
    yield from _decode(source, None)


def _decode(source: Source, start: int | None) -> Iterator[VideoFrame]:
    with open_source(source.path) as container:
        stream = container.streams[source.video_index]
        assert isinstance(stream, VideoStream)
        stream.thread_type = "AUTO"
        if start is not None and not _seek(container, stream, start, source.pts[0]):
            start = None
        packets = read_packets(container, stream)
        if start is not None:
            packets = dropwhile(lambda packet: not packet.is_keyframe, packets)
        yield from _decode_packets(stream, packets)


def _seek(container: InputContainer, stream: VideoStream, start: int, first: int) -> bool:
    """Go to a keyframe that is shown at or before `start`; return whether there is one to be found.

    A container seeks by decoding time or by bytes: what it finds may be shown too late.
    """
    step = max(1, int(1 / (stream.time_base or 1)))
    target = start
    while target > first:
        container.seek(target, stream=stream)
        keyframe = next((p for p in read_packets(container, stream) if p.is_keyframe), None)
        if keyframe is not None and keyframe.pts is not None and keyframe.pts <= start:
            container.seek(target, stream=stream)
            return True
        target, step = target - step, 2 * step
    return False


def _check_size(source: Source, frame: VideoFrame) -> None:
    if (frame.width, frame.height) != (source.width, source.height):
        seconds = float(((frame.pts or 0) - source.pts[0]) * source.time_base)
        raise SourceError(
            f"The picture of {source.path} changes at {seconds:.1f} s from {source.width}x{source.height} to "
            f"{frame.width}x{frame.height}: cut the video there, and enlarge its pieces one by one."
        )


def _decode_packets(stream: VideoStream, packets: Iterator[AnyPacket]) -> Iterator[VideoFrame]:
    for packet in chain(packets, [None]):
        try:
            yield from stream.decode(packet)
        except EndOfFileError:
            return
        except FFmpegError as error:
            _logger.warning("A packet can't be decoded: %s", error.strerror)
