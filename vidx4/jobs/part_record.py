"""A finished part, and the record of it in a work folder, which may come from anywhere."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

_DIGEST = re.compile("[0-9a-f]{64}")
_MAX_COUNT = 1 << 53
"""Largest number that every program reads from JSON as it was written."""


@dataclass(frozen=True)
class Part:
    """A finished chunk of a shot: frames `[start, stop)` of the source, enlarged and encoded."""

    start: int
    stop: int
    num_frames: int
    """Number of frames held; fewer than `stop - start` if some can't be decoded."""
    num_reused: float
    """Work that was reused from earlier frames, in frames."""
    starts_shot: bool
    ends_shot: bool
    seconds: float
    """Seconds the part took to make."""
    size: int
    """Size of the part file in bytes."""
    digest: str
    """SHA-256 of the part file."""

    @classmethod
    def of_record(cls, facts: object) -> Self:
        """Return the part that a record describes.

        Args:
            facts: its values by name, as they were read.

        Raises:
            ValueError: it is not the record of a part, or describes an impossible one.
        """
        names = [field.name for field in fields(cls)]
        if not isinstance(facts, dict) or facts.keys() != set(names):
            raise ValueError(facts)
        for field in fields(cls):
            _check(facts[field.name], field.type)
        part = cls(**facts)
        is_possible = part.start < part.stop and part.num_frames <= part.stop - part.start
        if not is_possible or not _DIGEST.fullmatch(part.digest):
            raise ValueError(facts)
        return part


def _check(value: object, kind: object) -> None:
    """Make sure that a value has its type, and that a number is neither negative nor absurd."""
    is_right = type(value) is kind or (kind is float and type(value) is int)
    if not is_right or (isinstance(value, int | float) and not 0 <= value <= _MAX_COUNT):
        raise ValueError(value)


@dataclass(frozen=True)
class Record:
    """The record of a part: the part, the job that made it, and the state after it."""

    part: Part
    job: str
    """SHA-256 of the job's identity."""
    state: str | None
    """SHA-256 of the file of the state for the frames after the part; None if they need none."""

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Self:
        """Return the record in an object that was read from JSON.

        Raises:
            ValueError: it is not one.
        """
        job, state = facts.get("job"), facts.get("state")
        if not isinstance(job, str) or not isinstance(state, str | None):
            raise ValueError(facts)
        return cls(Part.of_record(facts.get("part")), job, state)
