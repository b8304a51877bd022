"""Read the chapters of a file, and write them into another."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice

from av.container import InputContainer, OutputContainer

from vidx4.media.formats.limits import MAX_CHAPTERS
from vidx4.media.tracks.timeline import Cut

_NANOSECOND = Fraction(1, 10**9)


@dataclass(frozen=True)
class Chapter:
    """A named stretch of a video."""

    start: Fraction
    """Seconds at which the chapter begins."""
    stop: Fraction
    """Seconds at which the chapter ends."""
    title: str
    metadata: tuple[tuple[str, str], ...] = ()
    """Tags of the chapter, including its title."""

    def __str__(self) -> str:
        return f"{self.title!r} {float(self.start):.3f}-{float(self.stop):.3f} s"


def chapters_of(container: InputContainer, cut: Cut | None = None) -> list[Chapter]:
    """Return the chapters of a file: all of them, or those inside a cut, on the clock of its output.

    Those after the first `MAX_CHAPTERS` are left out.
    """
    found: list[Chapter] = []
    for chapter in islice(container.chapters(), MAX_CHAPTERS):
        time_base = Fraction(chapter["time_base"] or 1)
        start, stop = chapter["start"] * time_base, chapter["end"] * time_base
        metadata = chapter["metadata"]
        if cut is not None:
            # One may begin before the first frame, or even end before it.
            start = max(start, cut.origin) if cut.origin else start
            if not cut.holds(start, stop) or start > stop:
                continue
            start, stop = (time - cut.origin for time in cut.clip(start, stop))
        found.append(Chapter(start, stop, metadata.get("title", ""), tuple(metadata.items())))
    return found


def set_chapters(container: OutputContainer, chapters: Sequence[Chapter]) -> None:
    """Set the chapters of an output."""
    container.set_chapters(
        [
            {
                "id": number,
                "start": round(chapter.start / _NANOSECOND),
                "end": round(chapter.stop / _NANOSECOND),
                "time_base": _NANOSECOND,
                "metadata": dict(chapter.metadata),
            }
            for number, chapter in enumerate(chapters, start=1)
        ]
    )
