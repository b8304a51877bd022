"""Make whole frames from the fields of interlaced and telecined video, at times computed beforehand."""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from math import lcm

from av.error import BlockingIOError, EOFError
from av.filter import Graph
from av.video.frame import VideoFrame

from vidx4.appearance import UNSPECIFIED
from vidx4.media.display.codes import is_gray
from vidx4.media.display.gray import gray_to_rgb
from vidx4.video import Fields, Source

CYCLE, FILM_PER_CYCLE = 5, 4
"""Telecined frames in a cycle of 3:2 pulldown, and the frames of film that they were made from."""
FILM_RATE = Fraction(24000, 1001)
_CONTEXT = 2 * CYCLE
"""Stored frames to decode before the wanted ones, so that the filters give what they give in the whole
video."""
_BYTE = 8
_MAX_TIMESCALE = 2**31 - 1
"""Largest denominator of a time base that containers can store."""


def treat(source: Source, fields: Fields, top_field_first: bool) -> Source:
    """Return the description of a video as it is after its fields have been treated.

    Args:
        source: the video with its frames as they are stored.
        fields: the treatment.
        top_field_first: whether the top field of a frame is the earlier one.
    """
    treated = replace(source, fields=fields, top_field_first=top_field_first, untreated=source)
    match fields:
        case Fields.FIELD:
            return _by_field(treated)
        case Fields.FILM:
            return _as_film(treated)
    return treated if fields == Fields.FRAME else source


def _by_field(source: Source) -> Source:
    """Return a video of twice as many frames: each gets a second time, half-way to the next frame."""
    bounds = pairwise((*source.pts, source.stop_pts))
    return replace(
        source,
        time_base=source.time_base / 2,
        pts=tuple(time for start, stop in bounds for time in (2 * start, start + stop)),
        stop_pts=2 * source.stop_pts,
        frame_rate=None if source.frame_rate is None else 2 * source.frame_rate,
    )


def _as_film(source: Source) -> Source:
    """Return a video of four frames for every five, evenly spaced from the first on."""
    # The smallest time base that holds both the times of the film and those of the source exactly.
    scale = lcm(FILM_RATE.numerator, source.time_base.denominator)
    scale = scale if scale <= _MAX_TIMESCALE else FILM_RATE.numerator
    step = int(scale / FILM_RATE)
    first, stop = (round(pts * source.time_base * scale) for pts in (source.pts[0], source.stop_pts))
    pts = tuple(first + step * index for index in range(_num_film(source.num_frames)))
    return replace(
        source,
        time_base=Fraction(1, scale),
        pts=pts,
        stop_pts=max(stop, pts[-1] + 1),
        frame_rate=FILM_RATE,
    )


def _num_film(num_frames: int) -> int:
    """Return how many frames remain; `decimate` drops none of an incomplete last cycle."""
    cycles, rest = divmod(num_frames, CYCLE)
    return FILM_PER_CYCLE * cycles + rest


def context_start(source: Source, pts: int) -> int:
    """Return the index of the first stored frame to decode in order to get a treated one.

    Args:
        source: the video after its treatment.
        pts: the time of the wanted frame, or one before it, on the treated clock.
    """
    index = min(bisect_left(source.pts, pts), source.num_frames - 1)
    match source.fields:
        case Fields.FIELD:
            return max(0, index // 2 - _CONTEXT)
        case Fields.FILM:
            # A multiple of the cycle: `decimate` counts cycles from the first frame that it gets.
            return max(0, CYCLE * (index // FILM_PER_CYCLE) - _CONTEXT)
    return max(0, index - _CONTEXT)


def context_stop(source: Source, pts: int) -> int:
    """Return the time on the stored clock up to which to decode in order to get all frames before `pts`."""
    stored = source.untreated or source
    seconds = pts * source.time_base + _CONTEXT / (stored.frame_rate or 1)
    return -int(-seconds // stored.time_base)  # rounded up


def treated_frames(frames: Iterable[VideoFrame], source: Source, start: int) -> Iterator[VideoFrame]:
    """Turn stored frames into whole ones.

    Args:
        frames: stored frames in display order, on the stored clock; damaged ones may be missing.
        source: the video after its treatment; if it has none, frames come back unchanged.
        start: the index of the first stored frame given, from `context_start`.

    Yields:
        Frames with the times of the treated source; those before the wanted frame may differ from what the
        whole video gives.
    """
    match source.fields:
        case Fields.KEEP:
            yield from frames
        case Fields.FILM:
            yield from _undo_pulldown(frames, source, start)
        case _:
            yield from _deinterlace(frames, source)


def _deinterlace(frames: Iterable[VideoFrame], source: Source) -> Iterator[VideoFrame]:
    """Run bwdif, which gives one or two frames for each stored one, in order."""
    stored = source.untreated or source
    per_frame = 2 if source.fields == Fields.FIELD else 1
    # bwdif gives frames late and with times of its own; they are matched with its input by order.
    indices: deque[int] = deque()

    def record_indices() -> Iterator[VideoFrame]:
        for frame in frames:
            indices.append(bisect_left(stored.pts, frame.pts or 0))
            yield frame

    mode = "send_field" if per_frame == 2 else "send_frame"
    filters = [("bwdif", f"mode={mode}:parity={_parity(source)}:deint=all")]
    for number, frame in enumerate(filtered(record_indices(), filters)):
        nth = number % per_frame
        frame.pts = source.pts[per_frame * indices[0] + nth]
        if nth == per_frame - 1:
            indices.popleft()
        yield frame


def _undo_pulldown(frames: Iterable[VideoFrame], source: Source, start: int) -> Iterator[VideoFrame]:
    """Match fields to the film frames that they come from, and drop the one of five that repeats another.

    Frames that are still combed, as where an edit breaks the cadence, are deinterlaced. The n-th frame is the
    n-th of the film.
    """
    filters = [
        ("fieldmatch", f"order={_parity(source)}:mode=pc_n:combmatch=full"),
        ("bwdif", f"mode=send_frame:parity={_parity(source)}:deint=interlaced"),
        ("decimate", f"cycle={CYCLE}"),
    ]
    first = FILM_PER_CYCLE * (start // CYCLE)
    for index, frame in enumerate(filtered(_without_gaps(frames, source, start), filters), start=first):
        if index < source.num_frames:
            frame.pts = source.pts[index]
            yield frame


def _without_gaps(frames: Iterable[VideoFrame], source: Source, start: int) -> Iterator[VideoFrame]:
    """Repeat a frame in place of those missing before it, so that the cadence holds; times count frames."""
    stored = source.untreated or source
    index = start
    for frame in frames:
        frame_index = bisect_left(stored.pts, frame.pts or 0)
        while index <= frame_index:
            frame.pts = index - start
            yield frame
            index += 1


def _parity(source: Source) -> str:
    return "bff" if source.top_field_first is False else "tff"


def filtered(frames: Iterable[VideoFrame], filters: list[tuple[str, str]]) -> Iterator[VideoFrame]:
    """Run frames through a chain of FFmpeg's filters, each a name and its arguments."""
    graph: Graph | None = None
    for frame in map(_plain, frames):
        graph = graph or _make_graph(frame, filters)
        graph.push(frame)
        yield from _pull_ready(graph)
    if graph is not None:
        graph.push(None)
        yield from _pull_ready(graph)


def _plain(frame: VideoFrame) -> VideoFrame:
    """Return a frame that filters take: FFmpeg refuses some tags of colours where it has to convert."""
    if is_gray(frame.format):
        frame = gray_to_rgb(frame, "rgb24" if frame.format.components[0].bits <= _BYTE else "rgb48le")
    frame.colorspace = frame.color_primaries = frame.color_trc = UNSPECIFIED
    return frame


def _pull_ready(graph: Graph) -> Iterator[VideoFrame]:
    """Yield the frames that a graph can give before it needs more input."""
    while True:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):
            return
        assert isinstance(frame, VideoFrame)
        yield frame


def _make_graph(frame: VideoFrame, filters: list[tuple[str, str]]) -> Graph:
    graph = Graph()
    # `decimate` refuses input without a frame rate; none of these filters needs the true one.
    buffer = graph.add(
        "buffer",
        f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1001/30000:"
        "frame_rate=30000/1001",
    )
    nodes = [graph.add(name, arguments) for name, arguments in filters]
    graph.link_nodes(buffer, *nodes, graph.add("buffersink")).configure()
    return graph
