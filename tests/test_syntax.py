"""Sizes and durations as users read them."""

import pytest

from vidx4.syntax import format_disk, format_seconds


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 kB"),
        (123_456, "123 kB"),
        (5.2e9, "5.2 GB"),
        (999.4e6, "999 MB"),
        (1.8e12, "1.8 TB"),
        (123.4e9, "123 GB"),
        (4321e12, "4320 TB"),
        (999.9e6, "1 GB"),
    ],
)
def test_sizes_on_disk(size: float, text: str) -> None:
    assert format_disk(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.21, "3.2 s"), (245, "4:05"), (3723, "1:02:03"), (183845, "2 days 3:04:05")],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
