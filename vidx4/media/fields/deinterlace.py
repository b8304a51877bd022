"""Fields of interlaced and telecined video: whole frames are made of them, at times that are known before."""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import lcm

from av.error import BlockingIOError, EOFError
from av.filter import Graph
from av.video.frame import VideoFrame

from vidx4.errors import OptionError
from vidx4.media.options import Deinterlace, InverseTelecine
from vidx4.video import Fields, Source

CYCLE, FILM_PER_CYCLE = 5, 4
"""Of so many telecined frames, so many are film."""
NTSC_RATE, FILM_RATE = Fraction(30000, 1001), Fraction(24000, 1001)
_RATE_TOLERANCE = Fraction(1, 500)
_CONTEXT = 2 * CYCLE
"""Frames before the wanted ones after which the filters give what they give in the whole."""
_MAX_TIMESCALE = 2**31 - 1


@dataclass(frozen=True)
class FieldMeasure:
    """What a sample of a video's frames tells about its fields."""

    num_top_first: int = 0
    """Frames of two fields of which the top one is earlier."""
    num_bottom_first: int = 0
    num_progressive: int = 0
    is_telecined: bool = False
    """Whether two frames of every five, always the same two, are made of two."""
    top_field_first: bool = True
    """By the headers or, where they say nothing, by what was measured."""

    @property
    def num_interlaced(self) -> int:
        """Frames of two fields."""
        return self.num_top_first + self.num_bottom_first


_INTERLACED_SHARE = 0.25
"""Of the frames that tell, those that have to be of two fields in interlaced video."""
_ORDERED_SHARE = 0.8
"""Of these, those that have to agree which field is the earlier one: a camera doesn't change its mind."""
_ENOUGH = 3
"""Frames that have to be of two fields, at least."""


def is_interlaced(source: Source, measure: FieldMeasure) -> bool:
    """Return whether fields were found: by measurement or, where nothing moves, by the headers."""
    num_told = measure.num_interlaced + measure.num_progressive
    if num_told < _ENOUGH:
        return source.is_interlaced
    in_order = max(measure.num_top_first, measure.num_bottom_first)
    is_consistent = in_order >= _ORDERED_SHARE * measure.num_interlaced
    return is_consistent and measure.num_interlaced >= max(_ENOUGH, _INTERLACED_SHARE * num_told)


def choose_fields(
    source: Source, measure: FieldMeasure, deinterlace: Deinterlace, inverse_telecine: InverseTelecine
) -> Fields:
    """Decide what is done about the fields of a video.

    Raises:
        OptionError: pulldown is to be undone in video of another rate than 29.97 frames a second.
    """
    if inverse_telecine == InverseTelecine.ON and not _is_ntsc(source):
        rate = f"{float(source.frame_rate):.5g}" if source.frame_rate else "no"
        raise OptionError(
            f"3:2 pulldown has 29.97 frames a second, at equal distances; {source.path} has {rate}."
        )
    wants_film = measure.is_telecined and inverse_telecine == InverseTelecine.AUTO and _is_ntsc(source)
    if inverse_telecine == InverseTelecine.ON or (wants_film and deinterlace == Deinterlace.AUTO):
        return Fields.FILM
    match deinterlace:
        case Deinterlace.FRAME:
            return Fields.FRAME
        case Deinterlace.FIELD:
            return Fields.FIELD
        case Deinterlace.AUTO if is_interlaced(source, measure):
            return Fields.FRAME
    return Fields.KEEP


def _is_ntsc(source: Source) -> bool:
    rate = source.frame_rate
    steps = {stop - start for start, stop in pairwise(source.pts)}
    is_even = not steps or (max(steps) - min(steps)) * source.time_base < 1 / NTSC_RATE / 2
    return rate is not None and abs(rate / NTSC_RATE - 1) < _RATE_TOLERANCE and is_even


def treat(source: Source, fields: Fields, top_field_first: bool) -> Source:
    """Return a video as it is after something was done about its fields.

    Args:
        source: with frames as they are stored.
        fields: what is done.
        top_field_first: which field of a frame is the earlier one.
    """
    treated = replace(source, fields=fields, top_field_first=top_field_first, untreated=source)
    match fields:
        case Fields.FIELD:
            return _by_field(treated)
        case Fields.FILM:
            return _as_film(treated)
    return treated if fields == Fields.FRAME else source


def _by_field(source: Source) -> Source:
    """Give each frame a second time, half-way to the next."""
    bounds = pairwise((*source.pts, source.stop_pts))
    return replace(
        source,
        time_base=source.time_base / 2,
        pts=tuple(time for start, stop in bounds for time in (2 * start, start + stop)),
        stop_pts=2 * source.stop_pts,
        frame_rate=None if source.frame_rate is None else 2 * source.frame_rate,
    )


def _as_film(source: Source) -> Source:
    """Give four times for every five, at equal distances from the first on."""
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
    """Return how many frames are left: none is dropped of the last ones, which are no whole cycle."""
    cycles, rest = divmod(num_frames, CYCLE)
    return FILM_PER_CYCLE * cycles + rest


def context_start(source: Source, pts: int) -> int:
    """Return the index of the stored frame from which on frames have to be decoded to get a treated one.

    Args:
        source: after its treatment.
        pts: of the wanted frame, or before it, on the treated clock.
    """
    index = min(bisect_left(source.pts, pts), source.num_frames - 1)
    match source.fields:
        case Fields.FIELD:
            return max(0, index // 2 - _CONTEXT)
        case Fields.FILM:
            return max(0, CYCLE * (index // FILM_PER_CYCLE) - _CONTEXT)
    return max(0, index - _CONTEXT)


def context_stop(source: Source, pts: int) -> int:
    """Return a time on the stored clock up to which frames have to be decoded to get all before `pts`."""
    stored = source.untreated or source
    seconds = pts * source.time_base + _CONTEXT / (stored.frame_rate or 1)
    return -int(-seconds // stored.time_base)


def treated_frames(frames: Iterable[VideoFrame], source: Source, start: int) -> Iterator[VideoFrame]:
    """Make whole frames of stored ones.

    Args:
        frames: in the order in which they are shown, on the stored clock; damaged ones may be missing.
        source: after its treatment; without any, frames come back as they are.
        start: the index of the stored frame from which on they are given, one of `context_start`.

    Yields:
        Frames with the times of the treated source; those before the wanted one may differ from the whole's.
    """
    match source.fields:
        case Fields.KEEP:
            yield from frames
        case Fields.FILM:
            yield from _film(frames, source, start)
        case _:
            yield from _deinterlaced(frames, source)


def _deinterlaced(frames: Iterable[VideoFrame], source: Source) -> Iterator[VideoFrame]:
    """Run bwdif, which gives one or two frames for each, in order."""
    stored = source.untreated or source
    per_frame = 2 if source.fields == Fields.FIELD else 1
    indices: deque[int] = deque()

    def noted() -> Iterator[VideoFrame]:
        for frame in frames:
            indices.append(bisect_left(stored.pts, frame.pts or 0))
            yield frame

    mode = "send_field" if per_frame == 2 else "send_frame"
    filters = [("bwdif", f"mode={mode}:parity={_parity(source)}:deint=all")]
    for number, frame in enumerate(filtered(noted(), filters)):
        nth = number % per_frame
        frame.pts = source.pts[per_frame * indices[0] + nth]
        if nth == per_frame - 1:
            indices.popleft()
        yield frame


def _film(frames: Iterable[VideoFrame], source: Source, start: int) -> Iterator[VideoFrame]:
    """Match fields to the frames of film that they come from, and drop the one of five that repeats another.

    What is still combed, as at a cut in the cadence, is deinterlaced. The n-th frame is the n-th of the film.
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
    """Repeat the last frame where one is missing, so that the cadence goes on; times count frames."""
    stored = source.untreated or source
    index = start
    for frame in frames:
        place = bisect_left(stored.pts, frame.pts or 0)
        while index <= place:
            frame.pts = index - start
            yield frame
            index += 1


def _parity(source: Source) -> str:
    return "bff" if source.top_field_first is False else "tff"


def filtered(frames: Iterable[VideoFrame], filters: list[tuple[str, str]]) -> Iterator[VideoFrame]:
    """Run frames through FFmpeg's filters, each given by its name and arguments."""
    graph: Graph | None = None
    for frame in frames:
        graph = graph or _graph(frame, filters)
        graph.push(frame)
        yield from _ready(graph)
    if graph is not None:
        graph.push(None)
        yield from _ready(graph)


def _ready(graph: Graph) -> Iterator[VideoFrame]:
    while True:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):
            return
        assert isinstance(frame, VideoFrame)
        yield frame


def _graph(frame: VideoFrame, filters: list[tuple[str, str]]) -> Graph:
    graph = Graph()
    # The rate is told for decimate, which counts by it; none of these filters needs true times.
    buffer = graph.add(
        "buffer",
        f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1001/30000:"
        "frame_rate=30000/1001",
    )
    nodes = [graph.add(name, arguments) for name, arguments in filters]
    graph.link_nodes(buffer, *nodes, graph.add("buffersink")).configure()
    return graph
