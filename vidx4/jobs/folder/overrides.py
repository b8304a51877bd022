"""Options of single files, from a `vidx4.toml` in their folder."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from vidx4.diffusion.options import UpscaleOptions
from vidx4.errors import OptionError
from vidx4.jobs.folder.files import FileOptions
from vidx4.jobs.folder.options import file_options
from vidx4.jobs.folder.selection import OVERRIDES, matches
from vidx4.jobs.request import Request
from vidx4.option import OptionField, as_typed, build

FILES = "files"

Values = Mapping[str, Any]
"""Values of options by their keys, which are their flags without dashes before them."""


@dataclass(frozen=True)
class Overrides:
    """Options that a folder gives to its files.

    Keys at the top are for all files, those in a table `[files."pattern"]` for the files whose path matches;
    if several tables match and have a key, the last one counts.
    """

    defaults: Values
    by_pattern: Mapping[str, Values]

    @classmethod
    def load(cls, folder: Path, known: Mapping[str, OptionField]) -> Self:
        """Read the vidx4.toml of a folder; without one, there are no overrides.

        Args:
            folder: where the file is looked for.
            known: the options that may be given, by key.

        Raises:
            OptionError: the file can't be read, or gives what is not an option or its value.
        """
        path = folder / OVERRIDES
        try:
            content = tomllib.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return cls({}, {})
        except (OSError, ValueError) as error:
            raise OptionError(f"{path} can't be read: {error}.") from error
        tables = content.pop(FILES, {})
        if not isinstance(tables, dict) or not all(isinstance(each, dict) for each in tables.values()):
            raise OptionError(f'{path}: {FILES} must hold tables, as in [{FILES}."*.avi"].')
        by_pattern = {pattern: _parsed(path, table, known) for pattern, table in tables.items()}
        return cls(_parsed(path, content, known), by_pattern)

    def of(self, name: str) -> dict[str, Any]:
        """Return the options of a file, given by its path in the folder."""
        values = dict(self.defaults)
        for pattern, others in self.by_pattern.items():
            if matches(name, pattern):
                values |= others
        return values


def options_by_file(folder: Path, typed: Values, request: Request) -> Callable[[str], FileOptions]:
    """Return a function that gives the options of a file: what the user typed, then the folder's vidx4.toml.

    Args:
        folder: the folder.
        typed: values that the user gave; those that a file can't have are ignored.
        request: gives what is the same for all files.

    Raises:
        OptionError: options of vidx4.toml make no sense, whatever files they are for.
    """
    known, ignores_memory = file_options(), bool(typed.get("ignore-memory"))
    overrides = Overrides.load(folder, known)
    typed = {flag: value for flag, value in typed.items() if flag in known}

    def made(values: Values) -> FileOptions:
        return FileOptions(
            upscale=replace(build(UpscaleOptions, values), ignore_memory=ignores_memory),
            request=replace(build(Request, values), overwrite=request.overwrite, strict=request.strict),
            batch_size=values.get("batch-size"),
            changed=as_typed(values, known),
        )

    for table in ({}, *overrides.by_pattern.values()):
        made({**overrides.defaults, **table, **typed})
    return lambda name: made({**overrides.of(name), **typed})


def _parsed(path: Path, table: Values, known: Mapping[str, OptionField]) -> Values:
    for name in table:
        if name not in known:
            raise OptionError(f"{path}: there is no option {name!r}; the options are {', '.join(known)}.")
    return {name: _value(path, known[name], value) for name, value in table.items()}


def _value(path: Path, option: OptionField, value: object) -> Any:
    """Return the value of an option, given as what TOML has: a number, a text, or an array of these."""
    if option.is_list and isinstance(value, list):
        return tuple(_value(path, replace(option, is_list=False), each) for each in value)
    is_right = isinstance(value, option.written_as) and not isinstance(value, bool)
    if option.is_list or not is_right:
        raise OptionError(f"{path}: {option.flag} takes {option.noun}, not {value!r}.")
    try:
        return option.parse(str(value))
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from error
