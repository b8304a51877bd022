"""Damage that is found while a source is decoded."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Self

from vidx4.errors import SourceError
from vidx4.syntax import plural

_MAX_PLACES = 5
"""The most places that a sentence names."""


def too_damaged(path: Path, found: str) -> SourceError:
    """Return the error about a source that the user wants whole."""
    return SourceError(f"{path} is damaged: {found} Leave out --strict to enlarge what can be decoded.")


@dataclass
class Damage:
    """Places of a source that could not be decoded, in seconds from its first frame."""

    packets: set[Fraction] = field(default_factory=set)
    """Times of packets that can't be decoded."""
    frames: set[Fraction] = field(default_factory=set)
    """Times of frames in which the decoder concealed missing parts."""
    end: Fraction | None = None
    """The time at which reading failed though more should follow; None if the file was read to its end."""
    doubt: Callable[[OSError], object] = lambda _: None
    """Receives errors of the system, and raises one that may pass; those that it accepts are damage."""

    def add_end(self, time: Fraction, error: Exception | None = None) -> None:
        """Record that reading failed at a time; raises as `doubt`."""
        if isinstance(error, OSError):
            self.doubt(error)
        self.end = time

    def copy(self) -> Self:
        """Return a copy, for `restore`."""
        return replace(self, packets=set(self.packets), frames=set(self.frames))

    def restore(self, before: Self) -> None:
        """Forget what was found since a copy was made: it is looked for again."""
        self.packets, self.frames, self.end = set(before.packets), set(before.frames), before.end

    def __bool__(self) -> bool:
        return bool(self.packets or self.frames) or self.end is not None

    def sentences(self) -> tuple[str, ...]:
        """Return sentences for the user, one for each kind of damage."""
        sentences = []
        if self.end is not None:
            sentences.append(f"The file is cut off or unreadable after {_time(self.end)}.")
        if self.packets:
            sentences.append(
                f"{_number(self.packets, 'packet')} could not be decoded, {_places(self.packets)}."
            )
        if self.frames:
            concealed = f"Missing parts of {_number(self.frames, 'frame')} were filled in by the decoder"
            sentences.append(f"{concealed}, {_places(self.frames)}.")
        return tuple(sentences)


def _number(times: set[Fraction], noun: str) -> str:
    return plural(len(times), noun)


def _places(times: set[Fraction]) -> str:
    named = ", ".join(map(_time, sorted(times)[:_MAX_PLACES]))
    more = len(times) - _MAX_PLACES
    return f"at {named}" + (f" and {more} more" if more > 0 else "")


def _time(seconds: Fraction) -> str:
    return f"{float(seconds):.2f} s"
