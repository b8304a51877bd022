"""Timecodes: the number of the first frame as a time of day (SMPTE ST 12-1)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from vidx4.media.tracks.timeline import Cut
from vidx4.video import Source, TimeRange

_KEY = "timecode"
_FORM = re.compile(r"(\d{1,2}):(\d\d):(\d\d)([:;.,])(\d{2,3})")
_MINUTES = 60 * 24
"""Minutes of a day, after which timecodes begin anew."""
_PER_DROP = 30
"""Drop-frame timecodes count at multiples of this rate, and drop two numbers for each."""


@dataclass(frozen=True)
class Timecode:
    """The timecode of a frame."""

    number: int
    """Frames since the timecode 00:00:00:00."""
    rate: int
    """Frames that are counted for a second: 30 for 30000/1001."""
    drops: bool = False
    """Whether numbers are left out, so that the timecode of 30000/1001 frames a second keeps to the clock."""

    @classmethod
    def parse(cls, text: str, rate: int) -> "Timecode | None":
        """Return the timecode of a text such as `01:02:03:04`, or `01:02:03;04` if numbers are dropped.

        Args:
            text: hours, minutes, seconds and frames.
            rate: frames that are counted for a second.

        Returns:
            The timecode; None if the text is none at this rate.
        """
        found = _FORM.fullmatch(text.strip())
        if found is None:
            return None
        hours, minutes, seconds, frame = (int(found[group]) for group in (1, 2, 3, 5))
        drops = found[4] != ":"
        if max(minutes, seconds) >= 60 or frame >= rate or (drops and rate % _PER_DROP):
            return None
        minute = 60 * hours + minutes
        dropped = _num_dropped(rate) * (minute - minute // 10) if drops else 0
        return cls((60 * minute + seconds) * rate + frame - dropped, rate, drops)

    def after(self, num_frames: int) -> "Timecode":
        """Return the timecode so many frames later; after a day it begins anew."""
        dropped = _num_dropped(self.rate) * (_MINUTES - _MINUTES // 10) if self.drops else 0
        return Timecode(
            (self.number + num_frames) % (60 * _MINUTES * self.rate - dropped), self.rate, self.drops
        )

    def at_rate(self, rate: int) -> "Timecode":
        """Return the timecode of the same picture where as many frames of another rate precede it in time."""
        return Timecode(self.number * rate // self.rate, rate, self.drops and rate % _PER_DROP == 0)

    def __str__(self) -> str:
        number = self.number
        if self.drops:
            dropped, minute = _num_dropped(self.rate), 60 * self.rate - _num_dropped(self.rate)
            tens, rest = divmod(number, 10 * minute + dropped)  # no number is dropped in every tenth minute
            number += dropped * (9 * tens + max(0, rest - dropped) // minute)
        seconds, frame = divmod(number, self.rate)
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        return f"{clock}{';' if self.drops else ':'}{frame:02}"


def _num_dropped(rate: int) -> int:
    """Return how many numbers are left out at the beginning of a minute."""
    return rate // _PER_DROP * 2


def stated_timecode(source: Source) -> str:
    """Return the timecode that a source states for its first frame, an empty string if it states none.

    QuickTime files hold it as a stream of its own that the video refers to, other containers as a tag.
    """
    videos = (stream.tags for stream in source.streams if stream.index == source.video_index)
    others = (stream.tags for stream in source.streams if is_timecode(stream.kind, dict(stream.tags)))
    return next((text for tags in (*videos, source.tags, *others) if (text := _stated(dict(tags)))), "")


def is_timecode(kind: str, tags: Mapping[str, str]) -> bool:
    """Return whether a stream of a QuickTime file, of a kind and with some tags, holds only timecodes."""
    return kind == "data" and bool(_stated(tags))


def _stated(tags: Mapping[str, str]) -> str:
    return next((value for key, value in tags.items() if key.lower() == _KEY), "")


def first_timecode(source: Source, span: TimeRange) -> str:
    """Return the timecode of the first frame of a span; an empty string if there is none.

    Where fields become frames or pulldown is undone, frames are counted at the rate after it.
    """
    text, before = stated_timecode(source), (source.untreated or source).frame_rate
    if not text or not before or not source.frame_rate:
        return ""
    stated = Timecode.parse(text, round(before))
    if stated is None:
        return ""
    skipped = Cut.of(source, span).start - source.pts[0] * source.time_base
    return str(stated.at_rate(round(source.frame_rate)).after(round(skipped * source.frame_rate)))
