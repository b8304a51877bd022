"""The ways to tie the frames of a shot together."""

from enum import StrEnum


class Temporal(StrEnum):
    """How the frames of a shot are tied together."""

    OFF = "off"
    """Each frame starts from its own noise."""
    FIXED = "fixed"
    """All frames start from the same noise."""
    MOVING = "moving"
    """Noise, and detail with it, moves with the picture."""
