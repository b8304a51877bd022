"""How texts that come from files are printed, such as names, titles and messages of libraries."""

import codecs
import os
import shlex
import sys
import unicodedata
from io import TextIOWrapper
from typing import Any

_JOINERS = "\u200c\u200d"
"""Characters without a width of their own that belong to ordinary text: they join letters, or emoji."""
_UNSEEN = ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")
"""Categories of characters that control a terminal, change the look of others, or have none of their own."""
BYTES_OR_ESCAPES = "vidx4.bytes-or-escapes"
"""Error handler of streams: bytes of names that are no text stay, what the encoding lacks is escaped."""


def printable(text: str) -> str:
    """Return a text in one line that does nothing to a terminal: control characters become visible."""
    return "".join(each if _is_seen(each) else each.encode("unicode_escape").decode() for each in text)


def _is_seen(character: str) -> bool:
    return unicodedata.category(character) not in _UNSEEN or character in _JOINERS


def quoted(text: str) -> str:
    """Return a text as one word of a shell; control characters are written as bash and zsh read them."""
    if text == printable(text):
        return shlex.quote(text)
    return f"$'{''.join(map(_in_quotes, text))}'"


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


def protect_terminal() -> None:
    """Have whatever this process prints by Python be harmless, and printable in any encoding."""
    codecs.register_error(BYTES_OR_ESCAPES, _written)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors=BYTES_OR_ESCAPES)
    if sys.stderr is not None:
        sys.stderr = VisibleStream(sys.stderr)


def discard_output() -> None:
    """Discard what is still to be printed: nobody reads it any more."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _written(error: UnicodeError) -> tuple[str | bytes, int]:
    """Return what is written instead of the first character that can't be, and where to go on."""
    assert isinstance(error, UnicodeEncodeError)
    character = error.object[error.start]
    if _is_byte(character):
        return character.encode(errors="surrogateescape"), error.start + 1
    return character.encode("unicode_escape").decode(), error.start + 1
