"""Where a result goes, as its user names it: a file, or a folder to put it in."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from vidx4.errors import OptionError
from vidx4.files.read import is_folder_at
from vidx4.syntax import Syntax

_SEPARATORS = tuple(filter(None, (os.sep, os.altsep)))


@dataclass(frozen=True)
class Destination:
    """A file to write, or a folder for a file whose name follows from its source."""

    path: Path
    is_folder: bool = False
    """Whether it is meant as a folder, even if there is none yet."""
    is_certain: bool = False
    """Whether it can only be meant as a destination, and not as one more source."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a path; one that ends with a slash is a folder.

        Raises:
            OptionError: it is empty.
        """
        if not text:
            raise OptionError("The output has an empty name: name a file or a folder.")
        return cls(Path(text), text.endswith(_SEPARATORS))

    @classmethod
    def of(cls, given: "str | Path | Destination | None") -> "Destination | None":
        """Return the destination that a path means."""
        if given is None or isinstance(given, Destination):
            return given
        return cls.parse(given) if isinstance(given, str) else cls(given)

    @property
    def holds_file(self) -> bool:
        """Whether the result gets a name of its own inside: it is meant as a folder, or is one."""
        return self.is_folder or is_folder_at(self.path)

    def file(self, name: str) -> Path:
        """Return the file to write, given the name that it has in a folder."""
        return self.path / name if self.holds_file else self.path

    def __str__(self) -> str:
        return str(self.path)


def file_to_write(given: "str | Path | Destination | None", default: Path) -> Path:
    """Return where a result goes: as named, into the folder that was named, or to its default place."""
    destination = Destination.of(given)
    return default if destination is None else destination.file(default.name)


OUTPUT = Syntax("PATH", "a path", Destination.parse)
