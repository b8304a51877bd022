"""The chapters of a file."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from av.container import InputContainer, OutputContainer

from vidx4.media.tracks.timeline import Cut

_NANOSECONDS = Fraction(1, 10**9)


@dataclass(frozen=True)
class Chapter:
    """A stretch of a video with a name; times are seconds."""

    start: Fraction
    stop: Fraction
    title: str
    metadata: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.title!r} {float(self.start):.3f}-{float(self.stop):.3f} s"


def chapters_of(container: InputContainer, cut: Cut | None = None) -> list[Chapter]:
    """Return the chapters of a file, as far as a cut goes and on the clock of its output."""
    found = []
    for chapter in container.chapters():
        time_base = Fraction(chapter["time_base"] or 1)
        start, stop = chapter["start"] * time_base, chapter["end"] * time_base
        metadata = chapter["metadata"]
        if cut is None or cut.holds(start, stop):
            start, stop = (start, stop) if cut is None else (t - cut.origin for t in cut.clip(start, stop))
            found.append(Chapter(start, stop, metadata.get("title", ""), tuple(metadata.items())))
    return found


def set_chapters(container: OutputContainer, chapters: Sequence[Chapter]) -> None:
    """Write chapters into an output."""
    container.set_chapters(
        [
            {
                "id": number,
                "start": round(chapter.start / _NANOSECONDS),
                "end": round(chapter.stop / _NANOSECONDS),
                "time_base": _NANOSECONDS,
                "metadata": dict(chapter.metadata),
            }
            for number, chapter in enumerate(chapters, start=1)
        ]
    )
