"""Options of previews."""

from enum import StrEnum


class Layout(StrEnum):
    """How before and after are shown."""

    SPLIT = "split"
    """One picture, its left half before and its right half after."""
    SIDE = "side"
    """Two whole pictures side by side."""
    ALTERNATE = "alternate"
    """One and the other in turn, a second each."""
