"""Options of single files, from a `vidx4.toml` in their folder."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from vidx4.errors import OptionError
from vidx4.jobs.folder.selection import matches

FILE = "vidx4.toml"
FILES = "files"

Values = Mapping[str, Any]
"""By the name of the flag, without the dashes before it."""


@dataclass(frozen=True)
class Overrides:
    """What a folder says of its files.

    Keys at the top are for all files, those in a table `[files."pattern"]` for the files whose path matches;
    of several tables, the last one that matches and has a key decides.
    """

    defaults: Values
    by_pattern: Mapping[str, Values]

    @classmethod
    def load(cls, folder: Path, kinds: Mapping[str, type]) -> Self:
        """Read the file of a folder; nothing is said where there is none.

        Args:
            folder: where the file is looked for.
            kinds: the names that may be given, and the type of each.

        Raises:
            OptionError: the file can't be read, or says what makes no sense.
        """
        path = folder / FILE
        try:
            content = tomllib.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return cls({}, {})
        except (OSError, ValueError) as error:
            raise OptionError(f"{path} can't be read: {error}.") from error
        by_pattern = content.pop(FILES, {})
        if not isinstance(by_pattern, dict) or not all(
            isinstance(each, dict) for each in by_pattern.values()
        ):
            raise OptionError(f'{path}: {FILES} must hold tables, as in [{FILES}."*.avi"].')
        for values in (content, *by_pattern.values()):
            for name, value in values.items():
                _check(path, name, value, kinds)
        return cls(content, by_pattern)

    def of(self, name: str) -> dict[str, Any]:
        """Return what is said of a file, given by its path in the folder."""
        values = dict(self.defaults)
        for pattern, others in self.by_pattern.items():
            if matches(name, pattern):
                values |= others
        return values


def _check(path: Path, name: str, value: object, kinds: Mapping[str, type]) -> None:
    if name not in kinds:
        raise OptionError(f"{path}: there is no option {name!r}; these are known: {', '.join(kinds)}.")
    kind = kinds[name]
    is_right = isinstance(value, int | float if kind is float else kind) and not isinstance(value, bool)
    if not is_right:
        raise OptionError(f"{path}: {name} takes a value of type {kind.__name__}, not {value!r}.")
