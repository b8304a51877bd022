"""Measure, on a sample of a video, whether its frames are made of two fields."""

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
from vidx4.media.fields.deinterlace import CYCLE, FieldMeasure, filtered
from vidx4.media.stall import Pulse, watched
from vidx4.video import Source

NUM_PLACES, NUM_FRAMES = 6, 40
"""In how many places of a video frames are looked at, and how many in each."""
_INTERLACED, _PROGRESSIVE = ("tff", "bff"), "progressive"
_CADENCE_INTERLACED, _CADENCE_PROGRESSIVE = 0.7, 0.2
"""Shares of interlaced frames in telecined video: at least, where frames of film meet; at most, elsewhere."""
_ENOUGH_CYCLES = 3
_COMBED = 1.5
"""How much more lines stand out from the next ones than from those two away; noise gives 1."""
_LEAST_MOVEMENT = 0.005
"""Share of the picture that has to move for this to tell."""
_ROUNDING = 3 / 255
"""Difference of two lines, of 1, that rounding may cause."""
_MOVEMENT = 8 / 255
"""Change of a pixel from frame to frame, of 1, that is taken for movement."""


def measure_fields(source: Source) -> FieldMeasure:
    """Look at frames in several places of a video, as they are stored.

    Each is told to be of one moment or of two by FFmpeg's `idet`, from how its lines differ from those around
    and from those of its neighbours. Telecined film shows two frames of two moments in every five, always the
    same two.

    Raises:
        SourceError: the decoder makes no progress.
    """
    places = watched(lambda pulse: list(_places(source, pulse)), f"The decoder of {source.path}")
    marks = [mark for place in places for mark in place]
    top, bottom = (sum(mark == order for mark in marks) for order in _INTERLACED)
    by_flags = source.top_field_first
    return FieldMeasure(
        num_top_first=top,
        num_bottom_first=bottom,
        num_progressive=sum(mark == _PROGRESSIVE for mark in marks),
        is_telecined=_is_telecined(places),
        top_field_first=top >= bottom if by_flags is None else by_flags,
    )


def _places(source: Source, pulse: Pulse) -> Iterator[list[str]]:
    """Yield what `idet` says of each frame in a row, for every place."""
    if source.num_frames <= NUM_PLACES * NUM_FRAMES:
        yield _marks(_decoded(source, None, source.num_frames, pulse))
        return
    for number in range(NUM_PLACES):
        pts = source.pts[number * source.num_frames // NUM_PLACES]
        yield _marks(_decoded(source, pts, NUM_FRAMES, pulse))


def _marks(frames: Iterator[VideoFrame]) -> list[str]:
    marks = []
    before: NDArray[np.float32] | None = None
    for frame in filtered(frames, [("idet", "half_life=0")]):
        mark, luma = frame.metadata.get("lavfi.idet.single.current_frame", ""), _luma(frame)
        if mark in _INTERLACED:
            # Compression alone can look like fields to idet, but it draws no combs.
            combing = None if before is None else _combing(luma, before)
            mark = "" if combing is None else mark if combing > _COMBED else _PROGRESSIVE
        marks.append(mark)
        before = luma
    return marks


def _luma(frame: VideoFrame) -> NDArray[np.float32]:
    """Return every fourth column of the first plane, 0 to 1, (H, W)."""
    plane = frame.reformat(format="gray16le").planes[0]
    values = np.frombuffer(memoryview(plane), np.uint16).reshape(plane.height, -1)
    return values[:, : plane.width : 4].astype(np.float32) / np.float32(65535)


def _combing(luma: NDArray[np.float32], before: NDArray[np.float32]) -> float | None:
    """Return how much lines stand out from those next to them, against those two away, where something moves.

    In a picture of one moment, those two away differ more; of two moments, they are of the same one. None
    says that next to nothing moves.
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


def _decoded(source: Source, pts: int | None, num_frames: int, pulse: Pulse) -> Iterator[VideoFrame]:
    """Decode some frames from the keyframe about a time; what can't be decoded is left out."""
    with open_source(source.path) as container:
        stream = container.streams[source.video_index]
        assert isinstance(stream, VideoStream)
        if pts is not None and pts > source.pts[0]:
            with suppress(FFmpegError):  # then it is the beginning that is looked at
                container.seek(pts, stream=stream)
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


def _is_telecined(places: Sequence[Sequence[str]]) -> bool:
    """Return whether the cadence of 3:2 pulldown is found in most places in which fields are."""
    told = [place for place in places if any(mark in _INTERLACED for mark in place)]
    return bool(told) and 2 * sum(map(_has_cadence, told)) > len(told)


def _has_cadence(marks: Sequence[str]) -> bool:
    shares = [_interlaced_share(marks[phase::CYCLE]) for phase in range(CYCLE)]
    if len(marks) < _ENOUGH_CYCLES * CYCLE:
        return False
    for phase in range(CYCLE):
        mixed = (shares[phase], shares[(phase + 1) % CYCLE])
        others = (shares[(phase + n) % CYCLE] for n in range(2, CYCLE))
        if min(mixed) >= _CADENCE_INTERLACED and max(others) <= _CADENCE_PROGRESSIVE:
            return True
    return False


def _interlaced_share(marks: Sequence[str]) -> float:
    """Return the share of interlaced frames among those that tell; half where none does."""
    told = [mark for mark in marks if mark in (*_INTERLACED, _PROGRESSIVE)]
    return sum(mark in _INTERLACED for mark in told) / len(told) if told else 0.5
