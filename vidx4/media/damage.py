"""What could not be read of a source, and where."""

from dataclasses import dataclass, field
from fractions import Fraction

_MAX_PLACES = 5
"""How many places are named."""


@dataclass
class Damage:
    """Collects what goes wrong while a source is decoded; times are seconds from its first frame."""

    packets: set[Fraction] = field(default_factory=set)
    """Of packets that can't be decoded."""
    frames: set[Fraction] = field(default_factory=set)
    """Of frames that are shown, but of which the decoder says that parts are made up."""
    end: Fraction | None = None
    """Where the file can't be read on though more should come; None where it is read to its end."""

    def __bool__(self) -> bool:
        return bool(self.packets or self.frames) or self.end is not None

    def sentences(self) -> tuple[str, ...]:
        """Return what is to be said of it."""
        sentences = []
        if self.end is not None:
            sentences.append(f"The file is cut off or can't be read on at {_time(self.end)}.")
        if self.packets:
            sentences.append(
                f"{_number(self.packets, 'packet')} could not be decoded, {_places(self.packets)}."
            )
        if self.frames:
            filled = f"Parts of {_number(self.frames, 'frame')} were missing, and filled in by the decoder"
            sentences.append(f"{filled}, {_places(self.frames)}.")
        return tuple(sentences)


def _number(times: set[Fraction], noun: str) -> str:
    return f"{len(times)} {noun}{'s' if len(times) > 1 else ''}"


def _places(times: set[Fraction]) -> str:
    named = ", ".join(map(_time, sorted(times)[:_MAX_PLACES]))
    more = len(times) - _MAX_PLACES
    return f"at {named}" + (f" and {more} more" if more > 0 else "")


def _time(seconds: Fraction) -> str:
    return f"{float(seconds):.2f} s"
