"""The clock of edit lists, by which MP4 and QuickTime tell when each stream starts."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import pairwise
from math import floor, lcm

from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.stream import Stream

MAX_TIMESCALE = 2**31 - 1
"""The largest number of ticks per second that MP4 can store."""
_MILLISECONDS = 1000


def common_timescale(times: Iterable[Fraction | None]) -> int | None:
    """Return the fewest ticks per second that hold some times exactly; None if MP4 can't store so many."""
    timescale = lcm(*(time.denominator for time in times if time))
    return timescale if timescale <= MAX_TIMESCALE else None


def set_movie_timescale(container: OutputContainer, starts: Mapping[int, Fraction]) -> None:
    """Choose the clock of an output's edit lists such that every stream starts exactly when it should.

    Args:
        container: an output whose header is not written yet; nothing is done unless it has edit lists.
        starts: the time of each stream's first packet in seconds, by its index, where it is known.
    """
    if container.format.name in ("mp4", "mov"):
        clocks = {stream.index: _timescale(container, stream) for stream in container.streams}
        times = [_rounded(starts.get(index), timescale) for index, timescale in clocks.items()]
        timescale = movie_timescale(times, clocks.values(), _longest_chapter(container))
        container.container_options["movie_timescale"] = str(timescale)


def _longest_chapter(container: OutputContainer) -> Fraction:
    """Return the most seconds from a chapter's start to its end or to the next chapter's start."""
    times = [Fraction(0)]
    for chapter in container.chapters():
        times += [chapter[name] * Fraction(chapter["time_base"] or 1) for name in ("start", "end")]
    return max((stop - start for start, stop in pairwise(times)), default=Fraction(0))


def movie_timescale(
    starts: Iterable[Fraction], timescales: Iterable[int], longest_chapter: Fraction = Fraction(0)
) -> int:
    """Return the ticks per second of the movie, in which edit lists count.

    They are the fewest that hold all starts exactly. If MP4 can't store so many, they are twice those of the
    finest track: a start is rounded down when it is written, and to a tick of the track when it is read.

    Args:
        starts: the time at which each track starts, a multiple of the track's own tick.
        timescales: ticks per second of each track.
        longest_chapter: seconds that the track of chapters has to count in these ticks, of which
            MP4 stores 31 bits.
    """
    limit = floor(MAX_TIMESCALE / max(longest_chapter, Fraction(1)))
    exact, finest = common_timescale([Fraction(1, _MILLISECONDS), *starts]), max(timescales)
    candidates = (exact or MAX_TIMESCALE + 1, 2 * finest, finest)
    return next((each for each in candidates if each <= limit), max(limit, 1))


def _timescale(container: OutputContainer, stream: Stream) -> int:
    """Return the ticks per second of a track that FFmpeg is about to write."""
    if isinstance(stream, AudioStream):
        return stream.rate
    if stream.type == "video":
        return int(container.container_options["video_track_timescale"])
    return Fraction(stream.time_base or Fraction(1, _MILLISECONDS)).denominator


def _rounded(start: Fraction | None, timescale: int) -> Fraction:
    """Return a start in whole ticks of its track, as it is written; a single tick if it is not known."""
    return Fraction(1 if start is None else floor(start * timescale + Fraction(1, 2)), timescale)
