"""What Windows makes of names that other systems keep as they are."""

import ctypes
from contextlib import suppress
from pathlib import PurePath, PureWindowsPath
from typing import Any

MAX_LENGTH = 259
"""Most characters of a path, unless long paths are enabled."""
_LONGEST_BESIDE = len(".vidx4/") + len(".0123456789abcdef.0123456789abcdef.mark.unfinished")
"""What the path of a file that belongs to unfinished work has more than that of its output."""
_FORBIDDEN = '<>:"|?*'
_SPECIAL = frozenset({"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"})
_PORTS = frozenset(port + number for port in ("COM", "LPT") for number in "0123456789¹²³")


def why_not(path: PurePath) -> str:
    """Return why Windows makes no file with a path, or another one; empty if it makes this one.

    Args:
        path: an absolute path of an output.
    """
    windows_path = PureWindowsPath(str(path))
    parts = windows_path.parts[1:] if windows_path.anchor else windows_path.parts
    reasons = (_why_not_a_name(part) for part in parts if part != "..")
    return next(filter(None, reasons), _why_too_long(str(path)))


def _why_not_a_name(name: str) -> str:
    """Return what is wrong with one part of a path.

    Source: learn.microsoft.com, "Naming Files, Paths, and Namespaces".
    """
    for character in name:
        if character in _FORBIDDEN or character < " ":
            return f"Windows allows no {character!r} in names"
    if name.endswith((" ", ".")):
        return f"Windows drops the last character of {name!r}"
    if name.partition(".")[0].rstrip(" ").upper() in _SPECIAL | _PORTS:
        return f"{name} is the name of a device on Windows"
    return ""


def _why_too_long(path: str) -> str:
    if len(path) + _LONGEST_BESIDE <= MAX_LENGTH or allows_long_paths():
        return ""
    return (
        f"its path has {len(path)} characters, and Windows allows {MAX_LENGTH - _LONGEST_BESIDE} for an "
        "output unless long paths are enabled"
    )


def allows_long_paths() -> bool:
    """Return whether this process may use paths of any length, as Windows can be set to since version 10."""
    with suppress(AttributeError, OSError):
        library: Any = getattr(ctypes, "windll")  # noqa: B009  # which other systems lack
        return bool(library.ntdll.RtlAreLongPathsEnabled() & 0xFF)
    return False
