"""Options of single files, from a `vidx4.toml` in their folder."""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from reprlib import Repr
from typing import Any, Self

from vidx4.diffusion.options import UpscaleOptions
from vidx4.errors import OptionError
from vidx4.files.read import leads_out, read_whole
from vidx4.jobs.folder.item import FileOptions
from vidx4.jobs.folder.options import file_options
from vidx4.jobs.folder.selection import OVERRIDES, matches
from vidx4.jobs.request import Request
from vidx4.option import OptionField, as_typed, build

FILES = "files"
_MAX_SIZE, _MAX_PATTERNS = 1 << 16, 1000
"""Most bytes of a file, and most patterns in it: each is compared with each file of the folder."""
_DEEP = re.compile(r"(?:\.[^.\n]*+){400}")
"""A line with as many dots as no key has: reading such a key takes time by the square of their number."""
TRUST = "vidx4 batch --trust-folder"
"""What lets a folder do more than to decide how its pictures look."""
_MAX_LENGTH = 4096
"""Most characters of a pattern or a text: as many as a path may have."""

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
    def load(cls, folder: Path, known: Mapping[str, OptionField], *, is_trusted: bool = False) -> Self:
        """Read the vidx4.toml of a folder; without one, there are no overrides.

        Args:
            folder: where the file is looked for.
            known: the options that may be given, by key.
            is_trusted: whether options that are not harmless may be given, and the file may lie elsewhere.

        Raises:
            OptionError: the file can't be read, or gives what is not an option or its value, or may not be
                given without trust.
        """
        path = folder / OVERRIDES
        if not is_trusted and leads_out(path, folder):
            raise OptionError(f"{path} is a link that leads out of the folder, which needs {TRUST}.")
        content = _read(path)
        tables = content.pop(FILES, {})
        if not isinstance(tables, dict) or not all(isinstance(each, dict) for each in tables.values()):
            raise OptionError(f'{path}: {FILES} must hold tables, as in [{FILES}."*.avi"].')
        if len(tables) > _MAX_PATTERNS:
            raise OptionError(f"{path} holds more than {_MAX_PATTERNS} patterns.")
        if any(len(pattern) > _MAX_LENGTH for pattern in tables):
            raise OptionError(f"{path}: a pattern has more than {_MAX_LENGTH} characters.")
        for table in (content, *tables.values()):
            _check_keys(path, table, known, is_trusted)
        by_pattern = {pattern: _parsed(path, table, known) for pattern, table in tables.items()}
        return cls(_parsed(path, content, known), by_pattern)

    def of(self, name: str) -> dict[str, Any]:
        """Return the options of a file, given by its path in the folder."""
        values = dict(self.defaults)
        for pattern, others in self.by_pattern.items():
            if matches(name, pattern):
                values |= others
        return values


def options_by_file(
    folder: Path, typed: Values, request: Request, *, is_trusted: bool = False
) -> Callable[[str], FileOptions]:
    """Return a function that gives the options of a file: what the user typed, then the folder's vidx4.toml.

    Args:
        folder: the folder.
        typed: values that the user gave; those that a file can't have are ignored.
        request: gives what is the same for all files.
        is_trusted: whether the vidx4.toml may give options that are not harmless.

    Raises:
        OptionError: options of vidx4.toml make no sense, whatever files they are for.
    """
    known, ignores_memory = file_options(), bool(typed.get("ignore-memory"))
    overrides = Overrides.load(folder, known, is_trusted=is_trusted)
    typed = {flag: value for flag, value in typed.items() if flag in known}

    @cache
    def made_once(items: tuple[tuple[str, Any], ...]) -> FileOptions:
        values = dict(items)
        return FileOptions(
            upscale=replace(build(UpscaleOptions, values), ignore_memory=ignores_memory),
            request=replace(build(Request, values), overwrite=request.overwrite, strict=request.strict),
            batch_size=values.get("batch-size"),
            changed=as_typed(values, known),
        )

    def made(values: Values) -> FileOptions:
        return made_once(tuple(values.items()))

    for table in ({}, *overrides.by_pattern.values()):
        made({**overrides.defaults, **table, **typed})
    return lambda name: made({**overrides.of(name), **typed})


def _read(path: Path) -> dict[str, Any]:
    try:
        # utf-8-sig: editors on Windows may put a mark at the beginning.
        text = read_whole(path, _MAX_SIZE).decode("utf-8-sig")
        if _DEEP.search(text):
            raise RecursionError
        return tomllib.loads(text)
    except FileNotFoundError:
        return {}
    except RecursionError as error:
        raise OptionError(f"{path} can't be read: its values are nested too deeply.") from error
    except OSError as error:
        raise OptionError(f"{path} can't be read: {error.strerror}.") from error
    except ValueError as error:
        raise OptionError(f"{path} can't be read: {error}.") from error


def _check_keys(path: Path, table: Values, known: Mapping[str, OptionField], is_trusted: bool) -> None:
    for name in table:
        if name not in known:
            options = ", ".join(known)
            raise OptionError(f"{path}: there is no option {_shown(name)}; the options are {options}.")
        if not is_trusted and not known[name].option.is_harmless:
            raise OptionError(
                f"{path}: {name} decides on more than the picture and the output. If you trust whoever made "
                f"this folder, use {TRUST}; if not, remove the line."
            )


def _parsed(path: Path, table: Values, known: Mapping[str, OptionField]) -> Values:
    return {name: _value(path, known[name], value) for name, value in table.items()}


def _value(path: Path, option: OptionField, value: object) -> Any:
    """Return the value of an option, given as what TOML has: a number, a text, or an array of these."""
    if option.is_list and isinstance(value, list):
        return tuple(_value(path, replace(option, is_list=False), each) for each in value)
    is_right = isinstance(value, option.written_as) and not isinstance(value, bool)
    if isinstance(value, str) and len(value) > _MAX_LENGTH:
        raise OptionError(f"{path}: {option.flag} has more than {_MAX_LENGTH} characters.")
    if option.is_list or not is_right:
        raise OptionError(f"{path}: {option.flag} takes {option.noun}, not {_shown(value)}.")
    try:
        return option.parse(str(value))
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from error
    except ValueError as error:  # of `str`
        raise OptionError(f"{path}: {option.flag} has too many digits.") from error


def _shown(value: object) -> str:
    """Return a value of any size and depth as code in a few characters."""
    short = Repr()
    short.maxstring = short.maxother = 60
    try:
        return short.repr(value)
    except ValueError:
        return "a number with thousands of digits"
