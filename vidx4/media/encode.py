"""Compress frames to a part file."""

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

import av
import numpy as np
import torch
from av.codec.context import Flags
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vidx4.files.write import write_whole
from vidx4.frames import FrameBatch
from vidx4.media.container import BITEXACT, open_part, read_frame_packets
from vidx4.media.display.color import Converter, tag_colors
from vidx4.media.encoder import start
from vidx4.media.formats.demuxers import file_url
from vidx4.media.target import Target
from vidx4.video import Source

_SHORT = 4
"""Packets of a video that is longer than the delay of any encoder."""
_MAX_RATE_DENOMINATOR = 1_000_000
"""The largest denominator of a frame rate that encoders are given."""


def encode_part(path: Path, batches: Iterable[FrameBatch], source: Source, target: Target) -> int:
    """Compress frames to a part file, which appears at `path` when it is whole.

    The container is NUT, which keeps any time base and the order of B-frames; ProRes, which NUT can't hold,
    is written to QuickTime. The same frames give the same bytes. Without any frame, the file is empty.

    Args:
        path: where the part should appear; an existing file is replaced.
        batches: frames in ascending order of pts, all of one size, in the source's time base.
        source: the video that the frames were made from.
        target: the stream that they become; frames of another size are resized.

    Returns:
        The number of frames written.

    Raises:
        OutputError: the file can't be written.
    """
    batches = iter(batches)
    first = next(batches, None)
    with write_whole(path, makes_folder=False) as unfinished:
        if first is None:
            unfinished.touch()
            return 0
        kind, options = target.part_format, _part_options(source, target)
        with av.open(file_url(unfinished), "w", format=kind, container_options=options) as container:
            stream = _add_stream(container, source, target)
            return _encode(container, stream, _frames(chain([first], batches), source, target))


def _part_options(source: Source, target: Target) -> dict[str, str]:
    if target.part_format == "nut":
        return BITEXACT
    return BITEXACT | {"video_track_timescale": str(source.time_base.denominator)}


def _add_stream(container: OutputContainer, source: Source, target: Target) -> VideoStream:
    rate = (source.frame_rate or Fraction(1)).limit_denominator(_MAX_RATE_DENOMINATOR)
    settings = target.encoder
    stream = container.add_stream(settings.encoder, rate=rate, options=dict(settings.options))
    assert isinstance(stream, VideoStream)
    stream.time_base = source.time_base
    context = stream.codec_context
    context.time_base = source.time_base
    context.width, context.height, context.pix_fmt = target.width, target.height, settings.pix_fmt
    context.sample_aspect_ratio = target.sample_aspect_ratio
    context.thread_count = settings.num_threads
    context.flags |= Flags.bitexact
    tag_colors(context, target.color)
    start(context)
    return stream


def _frames(batches: Iterable[FrameBatch], source: Source, target: Target) -> Iterator[VideoFrame]:
    converter, size = Converter(), (target.width, target.height)
    for batch in batches:
        rgb_format = "rgb24" if batch.data.dtype == torch.uint8 else "rgb48le"
        for pixels, pts in zip(batch.data.numpy(), batch.pts, strict=True):
            rgb = np.ascontiguousarray(target.turn(pixels).transpose(1, 2, 0))  # (H, W, 3)
            picture = VideoFrame.from_ndarray(rgb, format=rgb_format)
            frame = converter.to_yuv(picture, target.color, target.encoder.pix_fmt, size)
            frame.pts, frame.time_base = pts, source.time_base
            yield frame


def _encode(container: OutputContainer, stream: VideoStream, frames: Iterable[VideoFrame]) -> int:
    num_frames = 0

    def counted() -> Iterator[VideoFrame]:
        nonlocal num_frames
        for frame in frames:
            num_frames += 1
            yield frame

    packets = (packet for frame in chain(counted(), (None,)) for packet in stream.encode(frame))
    first = list(islice(packets, _SHORT))
    if len(first) < _SHORT:
        _set_dts(first)
    for packet in chain(first, packets):
        container.mux(packet)
    return num_frames


def _set_dts(packets: Sequence["Packet[VideoStream]"]) -> None:
    """Set the dts of all packets of a short video: x265 gives random ones if it is shorter than its delay."""
    shown = sorted(packet.pts or 0 for packet in packets)
    delay = max(number - shown.index(packet.pts or 0) for number, packet in enumerate(packets))
    times = [*range(shown[0] - delay, shown[0]), *shown]
    for packet, dts in zip(packets, times, strict=False):
        packet.dts = dts


def frame_sizes(part: Path, target: Target) -> tuple[list[int], list[int]]:
    """Return the sizes in bytes of a part's keyframes, and those of its other frames."""
    keyframes: list[int] = []
    others: list[int] = []
    with open_part(part, target.part_format) as container:
        for packet in read_frame_packets(container, container.streams.video[0]):
            (keyframes if packet.is_keyframe else others).append(packet.size)
    return keyframes, others
