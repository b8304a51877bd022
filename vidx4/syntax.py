"""How times, rates and sizes are written, by users and for them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

_TIME = re.compile(r"(?:(?:(\d{1,4}):)?(\d{1,4}):)?(\d{1,9}(?:\.\d{1,9})?|\.\d{1,9})")
_UNITS = {"K": 1, "M": 2, "G": 3, "T": 4}


@dataclass(frozen=True)
class Syntax:
    """How a value is written."""

    metavar: str
    """Placeholder for the value in help texts."""
    noun: str
    """What the value is called in messages, with its article."""
    parse: Callable[[str], Any]
    """Returns the value; raises ValueError if the text is not one."""
    format: Callable[[Any], str] = str
    """Writes a value so that `parse` reads it back."""


def parse_time(text: str) -> Fraction:
    """Parse seconds or [hh:]mm:ss, both with decimals.

    Raises:
        ValueError: the text is not a time.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(text)
    hours, minutes, seconds = match.groups(default="0")
    return 3600 * int(hours) + 60 * int(minutes) + Fraction(seconds)


def parse_rate(text: str) -> Fraction:
    """Parse frames per second, as in 25, 23.976 or 24000/1001.

    Raises:
        ValueError: the text is not a rate.
    """
    try:
        rate = Fraction(text)
    except ZeroDivisionError as error:
        raise ValueError(text) from error
    if rate <= 0:
        raise ValueError(text)
    return rate


def parse_size(text: str) -> int:
    """Return the bytes of a size such as 6GB, 512MiB or 0.5 GiB.

    Raises:
        ValueError: the text is not a size.
    """
    number = text.strip().upper()
    base = 1024 if number.endswith("IB") else 1000
    number = number.removesuffix("IB" if base == 1024 else "B").rstrip()
    if number[-1:] not in _UNITS:  # bare bytes are more often a forgotten unit
        raise ValueError(text)
    size: float = float(number[:-1]) * base ** _UNITS[number[-1]]
    if not 0 < size < 2**63:
        raise ValueError(text)
    return round(size)


PLAIN = {
    int: Syntax("N", "a whole number", int),
    float: Syntax("X", "a number", float),
    str: Syntax("TEXT", "text", str),
    Path: Syntax("PATH", "a path", Path),
}
"""How values of types are written that need no syntax of their own."""
TIME = Syntax("TIME", "a time in seconds or as hh:mm:ss.ms", parse_time, lambda time: f"{float(time):.9g}")
RATE = Syntax("RATE", "a number of frames per second such as 25 or 24000/1001", parse_rate)
_SIZES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
"""Units of sizes, in bytes."""


def _in_unit(size: float) -> tuple[float, str]:
    """Return a size in the largest unit that leaves at least 1 of it, and the unit."""
    unit, name = next((each for each in _SIZES if size >= each[0]), _SIZES[-1])
    return size / unit, name


SIZE = Syntax(
    "SIZE",
    "a size such as 6GB, 800MB or 7.5GiB",
    parse_size,
    lambda size: "{:.12g}{}".format(*_in_unit(size)),
)


def format_memory(size: float) -> str:
    """Format a size of memory."""
    return f"{size / 2**20:.0f} MiB" if size < 10 * 2**30 else f"{size / 2**30:.1f} GiB"


def format_disk(size: float) -> str:
    """Format a size on disk, or one that is compared with it, in three digits."""
    number, unit = _in_unit(float(f"{size:.3g}"))
    return f"{number:g} {unit}"


def format_rate(rate: Fraction) -> str:
    """Format frames per second as 25 fps or 29.97 fps."""
    return f"{float(rate):.5g} fps"


def plural(number: int, noun: str) -> str:
    """Return a number of things in words, as in 1 file and 2 files."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def format_seconds(seconds: float) -> str:
    """Format a duration as 3.2 s, 4:05, 1:02:03 or 2 days 3:04:05."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    in_days = f"{plural(days, 'day')} " if days else ""
    return f"{in_days}{hours}:{minutes:02}:{rest:02}" if days or hours else f"{minutes}:{rest:02}"


def format_about(seconds: float) -> str:
    """Format a duration that is known roughly as 40 s, 25 min, 6 h or 3 days."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (unit == "h" and seconds >= size):
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
