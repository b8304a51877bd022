"""Which moments of a film a preview shows, and how long."""

from bisect import bisect_left
from fractions import Fraction
from itertools import pairwise

from vidx4.jobs.moments import choose_moments
from vidx4.jobs.plan import frames_of
from vidx4.jobs.preview.options import NUM_SAMPLES, PreviewOptions
from vidx4.video import Source, TimeRange

Sample = tuple[TimeRange, int]
"""A span, and the index of the frame that stands for it in pictures."""

MAX_SHARE = Fraction(1, 5)
"""Largest share of a film that is shown unless more is asked for: a preview is no use if it takes as long."""
MIN_FRAMES = 5
"""Frames that are shown even if they are a larger share, and those of a moment where there are several."""
_LONGEST, _LONGEST_ALONE = 1, 2
"""Seconds of each moment, and of the one moment that was asked for, in films that are long enough."""


def choose_samples(source: Source, within: TimeRange, shown: PreviewOptions) -> list[Sample]:
    """Return spans of a part of a film, with the frame that stands for each; no two overlap.

    Raises:
        OptionError: the part holds no frame, or not the moment that was asked for.
    """
    frames = frames_of(source, within)
    begin, end = (source.seconds_of(pts) for pts in within.bounds(source))
    room = _Room(end - begin, len(frames))
    if moment := shown.moment(within, room.of_one()):
        return [_middle(source, moment)]
    num_samples, duration = room.divide(shown.samples, shown.duration)
    moments = choose_moments(source, num_samples, frames)
    times = [source.seconds_of(source.pts[index]) for index in moments]
    borders = [begin, *(_first_frame_after(source, (a + b) / 2) for a, b in pairwise(times)), end]
    spans = []
    for moment_index, when, (first, last) in zip(moments, times, pairwise(borders), strict=True):
        start = _first_frame_after(source, max(first, min(when - duration / 2, last - duration)))
        spans.append((TimeRange(start, min(start + duration, last)), moment_index))
    return spans


class _Room:
    """How much of a film may be shown.

    Args:
        length: seconds of the film.
        num_frames: its frames.
    """

    def __init__(self, length: Fraction, num_frames: int) -> None:
        self._length = length
        self._frame = length / num_frames
        self._shown = min(length, max(MAX_SHARE * length, MIN_FRAMES * self._frame))

    def of_one(self) -> Fraction:
        """Return how long a single moment is that was chosen by the user."""
        return self._in_frames(min(Fraction(_LONGEST_ALONE), self._shown))

    def divide(self, num_samples: int | None, duration: Fraction | None) -> tuple[int, Fraction]:
        """Return how many moments are shown, and how long each is, as far as the user did not say."""
        if num_samples is None:
            each = duration or MIN_FRAMES * self._frame
            num_samples = max(1, min(NUM_SAMPLES, int(self._shown / each)))
        if duration is None:
            duration = self._in_frames(min(Fraction(_LONGEST), self._shown / num_samples))
        return max(1, min(num_samples, int(self._length / duration))), duration

    def _in_frames(self, duration: Fraction) -> Fraction:
        """Return a duration in whole frames, at least one."""
        return max(1, int(duration / self._frame)) * self._frame


def _middle(source: Source, span: TimeRange) -> Sample:
    frames = span.frames(source)
    return span, min((frames.start + frames.stop) // 2, source.num_frames - 1)


def _first_frame_after(source: Source, seconds: Fraction) -> Fraction:
    """Return when the first frame begins that begins at a time or after it."""
    start, _ = TimeRange(seconds).bounds(source)
    return source.seconds_of(source.pts[bisect_left(source.pts, start)])
