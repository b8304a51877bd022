"""How texts that come from files are printed, such as names, titles and messages of libraries."""

import codecs
import json
import math
import os
import re
import shlex
import sys
import unicodedata
from collections.abc import Mapping
from io import TextIOWrapper
from typing import Any, TextIO

_JOINERS = "\u200c\u200d"
"""Characters without a width of their own that belong to ordinary text: they join letters, or emoji."""
_UNSEEN = ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")
"""Categories of characters that control a terminal, change the look of others, or have none of their own."""
_PLAIN_ON_WINDOWS = re.compile(r"[\w.:\\/+=-]+")
"""Texts that mean nothing else to a shell of Windows."""
BYTES_OR_ESCAPES = "vidx4.bytes-or-escapes"
"""Error handler of streams: bytes of names that are no text stay, what the encoding lacks is escaped."""


def printable(text: str) -> str:
    """Return a text in one line that does nothing to a terminal: control characters become visible."""
    return "".join(each if _is_seen(each) else each.encode("unicode_escape").decode() for each in text)


def _is_seen(character: str) -> bool:
    return unicodedata.category(character) not in _UNSEEN or character in _JOINERS


def quoted(text: str) -> str:
    """Return a text as one word of a shell; control characters are written as bash and zsh read them."""
    if sys.platform == "win32":
        return _quoted_for_windows(printable(text))
    if text == printable(text):
        return shlex.quote(text)
    return f"$'{''.join(map(_in_quotes, text))}'"


def _quoted_for_windows(text: str) -> str:
    """Return a text as one argument on a command line of Windows, whichever shell it is typed into."""
    if text and _PLAIN_ON_WINDOWS.fullmatch(text):
        return text
    # Backslashes count as such, except before a quotation mark.
    return '"' + re.sub(r"(\\+)$", r"\1\1", re.sub(r'(\\*)"', r"\1\1\"", text)) + '"'


def _in_quotes(character: str) -> str:
    if _is_seen(character):
        return f"\\{character}" if character in "\\'" else character
    errors = "surrogateescape" if _is_byte(character) else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in character.encode(errors=errors))


def shown_name(name: str) -> str:
    """Return a name for people to copy and programs to read: as it is, unless it could control a terminal."""
    text = "".join(each for each in name if not _is_byte(each))
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return name if text == printable(name if is_terminal else text) else quoted(name)


def _is_byte(character: str) -> bool:
    """Return whether a character of a name stands for a byte that is no text."""
    return "\udc80" <= character <= "\udcff"


class LastingStream:
    """A standard stream that never fails: when it can't be written to any more, the rest is dropped.

    A job of hours does not end because a terminal is closed, or because the reader of a pipe is gone.

    Args:
        stream: where the text goes.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.failure: OSError | None = None
        """Why the stream could not be written to; None if it could."""

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        try:
            self._stream.write(text)
        except OSError as error:
            self._drop_the_rest(error)
        return len(text)

    def flush(self) -> None:
        """Pass on what is buffered, or drop it."""
        try:
            self._stream.flush()
        except OSError as error:
            self._drop_the_rest(error)

    def _drop_the_rest(self, error: OSError) -> None:
        self.failure = self.failure or error
        # What is still buffered, and what libraries print, must not fail either.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class VisibleStream:
    """A stream for what others print, such as warnings and tracebacks, in which they control no terminal.

    Args:
        stream: where the text goes.
    """

    def __init__(self, stream: Any) -> None:
        self.rich_proxied_file = stream
        """What Rich writes to, whose own sequences are meant."""

    def write(self, text: str) -> int:
        """Write a text, of one line or several."""
        self.rich_proxied_file.write("\n".join(map(printable, text.split("\n"))))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


def protect_terminal() -> LastingStream:
    """Have whatever this process prints by Python be harmless, printable in any encoding, and never fail.

    Returns:
        Standard output, which tells whether it could be written to.
    """
    _open_what_is_closed()
    codecs.register_error(BYTES_OR_ESCAPES, _written)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors=BYTES_OR_ESCAPES)
    output = LastingStream(sys.stdout or _nowhere())
    sys.stdout = output
    sys.stderr = VisibleStream(LastingStream(sys.stderr or _nowhere()))
    return output


def _open_what_is_closed() -> None:
    """Open the standard streams that the process was started without.

    Otherwise the next files that are opened get their numbers, and libraries that print write into them.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123  # open until the end


def to_json(facts: Any, indent: int | None = None) -> str:
    """Return values as JSON; paths and fractions become text, and numbers that JSON lacks become null."""
    return json.dumps(_finite(facts), default=str, allow_nan=False, indent=indent)


def _finite(value: Any) -> Any:
    """Return a value without infinity and NaN, which no other program would read."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {key: _finite(each) for key, each in value.items()}
        case list() | tuple():
            return [_finite(each) for each in value]
    return value


def _written(error: UnicodeError) -> tuple[str | bytes, int]:
    """Return what is written instead of the first character that can't be, and where to go on."""
    assert isinstance(error, UnicodeEncodeError)
    character = error.object[error.start]
    if _is_byte(character):
        return character.encode(errors="surrogateescape"), error.start + 1
    return character.encode("unicode_escape").decode(), error.start + 1
