"""Measure, on a sample of a video, whether its frames consist of two fields."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import dropwhile, islice

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vidx4.media.container import open_source, read_frame_packets
from vidx4.media.fields.choose import FieldMeasure
from vidx4.media.fields.deinterlace import CYCLE, filtered
from vidx4.media.stall import Pulse, watched
from vidx4.video import Source

NUM_PLACES, NUM_FRAMES = 6, 40
"""Number of places in a video that are sampled, and of frames at each."""
_INTERLACED, _PROGRESSIVE = ("tff", "bff"), "progressive"
"""The classes of frames, by the names that FFmpeg's `idet` gives them."""
_CADENCE_INTERLACED, _CADENCE_PROGRESSIVE = 0.7, 0.2
"""In telecined video: the least share of interlaced frames at the two places of a cycle where film frames
meet, and the most at the other three."""
_ENOUGH_CYCLES = 3
"""Least number of cycles of five frames that show a cadence."""
_COMBED = 1.5
"""Least ratio by which lines of two moments stand out from adjacent lines more than from those two away;
noise gives 1."""
_LEAST_MOVEMENT = 0.005
"""Least share of the picture that must move for combing to be measured."""
_ROUNDING = 3 / 255
"""Difference between two lines, in [0, 1], that rounding may cause."""
_MOVEMENT = 8 / 255
"""Least change of a pixel from frame to frame, in [0, 1], that counts as movement."""


def measure_fields(source: Source) -> FieldMeasure:
    """Measure the fields of frames sampled from several places of a video, as they are stored.

    FFmpeg's `idet` tells whether a frame shows one moment or two, from how its lines differ from those around
    them and from those of adjacent frames. Telecined film has two frames of two moments in every five, always
    the same two.

    Raises:
        SourceError: the decoder makes no progress.
    """
    samples = watched(lambda pulse: list(_sample(source, pulse)), f"The decoder of {source.path}")
    kinds = [kind for sample in samples for kind in sample]
    top, bottom = (sum(kind == order for kind in kinds) for order in _INTERLACED)
    by_headers = source.top_field_first
    return FieldMeasure(
        num_top_first=top,
        num_bottom_first=bottom,
        num_progressive=sum(kind == _PROGRESSIVE for kind in kinds),
        is_telecined=_is_telecined(samples),
        top_field_first=top >= bottom if by_headers is None else by_headers,
    )


def _sample(source: Source, pulse: Pulse) -> Iterator[list[str]]:
    """Yield the kinds of consecutive frames, for each place that is sampled."""
    if source.num_frames <= NUM_PLACES * NUM_FRAMES:
        yield _classify(_decode_some(source, None, source.num_frames, pulse))
        return
    for number in range(NUM_PLACES):
        pts = source.pts[number * source.num_frames // NUM_PLACES]
        yield _classify(_decode_some(source, pts, NUM_FRAMES, pulse))


def _classify(frames: Iterator[VideoFrame]) -> list[str]:
    """Return the kind of each frame, one of `_INTERLACED` or `_PROGRESSIVE`; anything else is undecided."""
    kinds = []
    before: NDArray[np.float32] | None = None
    for frame in filtered(frames, [("idet", "half_life=0")]):
        kind, luma = frame.metadata.get("lavfi.idet.single.current_frame", ""), _luma(frame)
        if kind in _INTERLACED:
            # Compression alone can look like fields to idet, but it draws no combs.
            combing = None if before is None else _combing(luma, before)
            kind = "" if combing is None else kind if combing > _COMBED else _PROGRESSIVE
        kinds.append(kind)
        before = luma
    return kinds


def _luma(frame: VideoFrame) -> NDArray[np.float32]:
    """Return every fourth column of the luma plane, in [0, 1], (H, W / 4)."""
    plane = frame.reformat(format="gray16le").planes[0]
    values = np.frombuffer(memoryview(plane), np.uint16).reshape(plane.height, -1)
    return values[:, : plane.width : 4].astype(np.float32) / np.float32(65535)


def _combing(luma: NDArray[np.float32], before: NDArray[np.float32]) -> float | None:
    """Return how much lines stand out from adjacent lines, relative to those two away, where things move.

    In a picture of one moment, lines two away differ more than adjacent ones; in one of two moments, lines
    two away belong to the same moment. None if next to nothing moves.

    Args:
        luma: the frame, in [0, 1], (H, W).
        before: the frame before it, same shape and range.
    """
    moves = np.abs(luma - before)[2:-2] > _MOVEMENT
    if moves.mean() < _LEAST_MOVEMENT:
        return None
    near, far = (float(_standing_out(luma, distance)[moves].sum()) for distance in (1, 2))
    return near / max(far, 1e-6)


def _standing_out(luma: NDArray[np.float32], distance: int) -> NDArray[np.float32]:
    """Return the product of the differences to the lines above and below, where both have the same sign."""
    middle, last = luma[2:-2], luma.shape[0] - 2 + distance
    above, below = luma[2 - distance : -2 - distance], luma[2 + distance : last]
    return ((above - middle) * (below - middle) - _ROUNDING**2).clip(min=0)


def _decode_some(source: Source, pts: int | None, num_frames: int, pulse: Pulse) -> Iterator[VideoFrame]:
    """Decode some frames from the keyframe at or before a time, skipping those that can't be decoded."""
    with open_source(source.path) as container:
        stream = container.streams[source.video_index]
        assert isinstance(stream, VideoStream)
        if pts is not None and pts > source.pts[0]:
            with suppress(FFmpegError):  # if seeking fails, the beginning is sampled again
                container.seek(pts, stream=stream)
        # A filter graph takes frames of one size; where the size changes midway, the rest is not sampled.
        size = source.width, source.height
        frames = (frame for frame in _decode(container, stream, pulse) if (frame.width, frame.height) == size)
        yield from islice(frames, num_frames)


def _decode(container: InputContainer, stream: VideoStream, pulse: Pulse) -> Iterator[VideoFrame]:
    packets = read_frame_packets(container, stream)
    for packet in dropwhile(lambda packet: not packet.is_keyframe, packets):
        pulse.beat()
        with suppress(FFmpegError):
            yield from stream.decode(packet)
    with suppress(FFmpegError):
        yield from stream.decode(None)


def _is_telecined(samples: Sequence[Sequence[str]]) -> bool:
    """Return whether most samples that have interlaced frames show the cadence of 3:2 pulldown."""
    interlaced = [sample for sample in samples if any(kind in _INTERLACED for kind in sample)]
    return bool(interlaced) and 2 * sum(map(_has_cadence, interlaced)) > len(interlaced)


def _has_cadence(kinds: Sequence[str]) -> bool:
    shares = [_interlaced_share(kinds[phase::CYCLE]) for phase in range(CYCLE)]
    if len(kinds) < _ENOUGH_CYCLES * CYCLE:
        return False
    # The cadence may begin anywhere in a cycle.
    for phase in range(CYCLE):
        mixed = (shares[phase], shares[(phase + 1) % CYCLE])
        others = (shares[(phase + n) % CYCLE] for n in range(2, CYCLE))
        if min(mixed) >= _CADENCE_INTERLACED and max(others) <= _CADENCE_PROGRESSIVE:
            return True
    return False


def _interlaced_share(kinds: Sequence[str]) -> float:
    """Return the share of interlaced frames among those with a known kind; one half if there are none."""
    known = [kind for kind in kinds if kind in (*_INTERLACED, _PROGRESSIVE)]
    return sum(kind in _INTERLACED for kind in known) / len(known) if known else 0.5
