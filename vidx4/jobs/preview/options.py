"""Options of previews."""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Annotated

from vidx4.errors import OptionError
from vidx4.option import Option, Panel, validate
from vidx4.syntax import TIME
from vidx4.video import TimeRange

NUM_SAMPLES = 3


class Layout(StrEnum):
    """How before and after are shown."""

    SPLIT = "split"
    """One picture, its left half before and its right half after."""
    SIDE = "side"
    """Two whole pictures side by side."""
    ALTERNATE = "alternate"
    """One and the other in turn, a second each."""


@dataclass(frozen=True)
class PreviewOptions:
    """What a preview shows, and how."""

    at: Annotated[
        Fraction | None,
        Option("Show one moment, which begins here.", Panel.INPUT, syntax=TIME, is_common=True),
    ] = None
    samples: Annotated[
        int | None,
        Option(
            "Number of moments to choose.",
            Panel.INPUT,
            minimum=1,
            default=f"{NUM_SAMPLES}, fewer in short videos",
            is_common=True,
        ),
    ] = None
    duration: Annotated[
        Fraction | None,
        Option(
            "Seconds of each moment.",
            Panel.INPUT,
            syntax=TIME,
            default="1, or 2 with --at; less in short videos",
            is_common=True,
        ),
    ] = None
    sweep: Annotated[
        tuple[str, ...],
        Option(
            "Compare values of an option; repeat it for a grid.",
            Panel.PICTURE,
            metavar="OPTION=A,B,...",
            is_common=True,
        ),
    ] = ()
    layout: Annotated[Layout, Option("How before and after share the video.", Panel.OUTPUT)] = Layout.SPLIT
    html: Annotated[bool, Option("Write a page for comparing.", Panel.OUTPUT)] = True

    def __post_init__(self) -> None:
        validate(self)
        if self.duration is not None and self.duration <= 0:
            raise OptionError("--duration must be longer than 0 s.")
        if self.at is not None and self.samples is not None:
            raise OptionError("--at shows one moment and --samples chooses several: give only one of them.")

    def moment(self, within: TimeRange, usual: Fraction) -> TimeRange | None:
        """Return the moment that `at` asks for, cut off at the end of a range; None if moments are chosen.

        Args:
            within: the range.
            usual: seconds that it lasts if no duration was given.

        Raises:
            OptionError: the moment is not in the range.
        """
        if self.at is None:
            return None
        stop = self.at + (self.duration or usual)
        if self.at < (within.start or 0) or (within.stop is not None and self.at >= within.stop):
            raise OptionError(f"--at {float(self.at):g} is not between --start and --stop.")
        return TimeRange(self.at, stop if within.stop is None else min(stop, within.stop))
