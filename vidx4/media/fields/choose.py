"""Decide what to do about the fields of a video, from a measurement of them."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from vidx4.errors import OptionError
from vidx4.media.options import Deinterlace, InverseTelecine
from vidx4.video import Fields, Source

NTSC_RATE = Fraction(30000, 1001)
_RATE_TOLERANCE = Fraction(1, 500)


@dataclass(frozen=True)
class FieldMeasure:
    """What a sample of a video's frames shows about its fields."""

    num_top_first: int = 0
    """Number of sampled frames that consist of two fields, the top one earlier."""
    num_bottom_first: int = 0
    """Number of sampled frames that consist of two fields, the bottom one earlier."""
    num_progressive: int = 0
    """Number of sampled frames that show a single moment."""
    is_telecined: bool = False
    """Whether the sample shows 3:2 pulldown: of every five frames, the same two consist of two fields."""
    top_field_first: bool = True
    """Whether the top field is the earlier one, by the headers or, if they are silent, by measurement."""

    @property
    def num_interlaced(self) -> int:
        """Number of sampled frames that consist of two fields."""
        return self.num_top_first + self.num_bottom_first


_INTERLACED_SHARE = 0.25
"""Least share of interlaced frames, among those that could be classified, in interlaced video."""
_ORDERED_SHARE = 0.8
"""Least share of interlaced frames with the same field order: a camera doesn't change it."""
_ENOUGH = 3
"""Least number of interlaced frames, and of classified frames, for the measurement to count."""


def is_interlaced(source: Source, measure: FieldMeasure) -> bool:
    """Return whether a video is interlaced: by measurement or, if nothing moves, by its headers."""
    num_classified = measure.num_interlaced + measure.num_progressive
    if num_classified < _ENOUGH:
        return source.is_interlaced
    in_order = max(measure.num_top_first, measure.num_bottom_first)
    is_consistent = in_order >= _ORDERED_SHARE * measure.num_interlaced
    return is_consistent and measure.num_interlaced >= max(_ENOUGH, _INTERLACED_SHARE * num_classified)


def choose_fields(
    source: Source, measure: FieldMeasure, deinterlace: Deinterlace, inverse_telecine: InverseTelecine
) -> Fields:
    """Decide what to do about the fields of a video.

    Raises:
        OptionError: pulldown is to be removed, but the video does not run at a constant 29.97 frames per
            second.
    """
    if inverse_telecine == InverseTelecine.ON and not _has_pulldown_rate(source):
        rate = f"{float(source.frame_rate):.5g} on average" if source.frame_rate else "no frame rate"
        raise OptionError(
            "--inverse-telecine needs a constant 29.97 frames per second, the rate of 3:2 pulldown; "
            f"{source.path} has {rate}."
        )
    wants_film = (
        measure.is_telecined and inverse_telecine == InverseTelecine.AUTO and _has_pulldown_rate(source)
    )
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


def _has_pulldown_rate(source: Source) -> bool:
    """Return whether a video runs at 29.97 frames per second, evenly spaced but for rounding."""
    rate = source.frame_rate
    steps = {stop - start for start, stop in pairwise(source.pts)}
    is_even = not steps or (max(steps) - min(steps)) * source.time_base < 1 / NTSC_RATE / 2
    return rate is not None and abs(rate / NTSC_RATE - 1) < _RATE_TOLERANCE and is_even
