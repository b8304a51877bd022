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

    def __bool__(self) -> bool:
        return bool(self.packets or self.frames)

    def sentences(self) -> tuple[str, ...]:
        """Return what is to be said of it."""
        found = (
            (self.packets, "could not be decoded", "packet"),
            (self.frames, "are damaged: their decoder filled in what is missing", "frame"),
        )
        return tuple(
            f"{len(times)} {what}{'s' if len(times) > 1 else ''} {how}, {_places(times)}."
            for times, how, what in found
            if times
        )


def _places(times: set[Fraction]) -> str:
    named = ", ".join(f"{float(time):.2f} s" for time in sorted(times)[:_MAX_PLACES])
    more = len(times) - _MAX_PLACES
    return f"at {named}" + (f" and {more} more" if more > 0 else "")
