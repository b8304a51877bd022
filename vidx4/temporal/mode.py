"""How the frames of a shot are tied together."""

from enum import StrEnum


class Temporal(StrEnum):
    """How frames hold together."""

    OFF = "off"
    """Each frame from noise of its own."""
    FIXED = "fixed"
    """All frames from the same noise."""
    MOVING = "moving"
    """Noise, and detail with it, follows the motion."""
