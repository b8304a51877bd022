"""Options, each written once: on its dataclass field, with what others need to know beside type and default.

    @dataclass(frozen=True)
    class EncodeOptions:
        crf: Annotated[int | None, Option("Quality in the codec's own scale.", Panel.EXPERT)] = None

        def __post_init__(self) -> None:
            validate(self)

`options_of` is the one reader of these annotations. The flags of the command line, the keys of vidx4.toml,
the sweeps of a preview and the tables of the documentation all come from it.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from fractions import Fraction
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from vidx4.errors import OptionError
from vidx4.printing import quoted
from vidx4.syntax import PLAIN, Syntax

T = TypeVar("T")


class Panel(StrEnum):
    """Headings that options are grouped under."""

    INPUT = "Input"
    PICTURE = "Picture"
    OUTPUT = "Output"
    JOB = "Job"
    CLUSTER = "Cluster"
    EXPERT = "Expert"


@dataclass(frozen=True)
class Option:
    """What is known of an option beside its type and default; annotates a dataclass field."""

    help: str
    panel: Panel
    flag: str = ""
    """Name without dashes before it; empty for the field's own name."""
    short: str = ""
    """One-letter form, such as `-m`."""
    metavar: str = ""
    """Placeholder for the value; empty for that of the type."""
    syntax: Syntax | None = None
    """How the value is written; None for the usual way of its type."""
    minimum: float | None = None
    maximum: float | None = None
    default: str = ""
    """In words, what is used if the field is None."""
    is_common: bool = False
    """Whether the short help shows it."""
    is_harmless: bool = False
    """Whether a folder of unknown origin may set it: it decides on the picture or the output alone, names no
    file, and makes nothing run that would not run anyway."""


@dataclass(frozen=True)
class OptionField:
    """An option together with its field."""

    name: str
    """Name of the field."""
    kind: type
    """Type of one value."""
    is_list: bool
    """Whether the field is a tuple of such values, so that the flag may be repeated."""
    default: Any
    option: Option

    @property
    def flag(self) -> str:
        """Name on the command line, without dashes before it, and in vidx4.toml."""
        return self.option.flag or self.name.replace("_", "-")

    @property
    def declarations(self) -> list[str]:
        """The forms on the command line, a short one first; a switch that is on can be turned off."""
        long = f"--{self.flag}/--no-{self.flag}" if self.default is True else f"--{self.flag}"
        return [*filter(None, (self.option.short, long))]

    @property
    def choices(self) -> tuple[str, ...]:
        """The values there are; empty if they can't be listed."""
        return tuple(self.kind) if issubclass(self.kind, StrEnum) else ()

    @property
    def metavar(self) -> str:
        """Placeholder for the value; empty for a switch, which takes none."""
        return (
            "" if self.kind is bool else self.option.metavar or "|".join(self.choices) or self._syntax.metavar
        )

    @property
    def default_text(self) -> str:
        """What is used if the option is not given, as text; empty for nothing."""
        if self.default is None or self.default in ("", ()) or self.kind is bool:
            return self.option.default
        return self._syntax.format(self.default)

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        noun = f"one of {', '.join(self.choices)}" if self.choices else self._syntax.noun
        return f"an array of {noun}" if self.is_list else noun

    @property
    def written_as(self) -> type | UnionType:
        """The types that a value may have in TOML; what is not a plain number can be written as text."""
        numbers = int | float
        if self.kind not in (int, float):
            return str
        return numbers if self.option.syntax is None else str | numbers

    @property
    def _syntax(self) -> Syntax:
        return self.option.syntax or PLAIN[str if issubclass(self.kind, StrEnum) else self.kind]

    def parse(self, text: str) -> Any:
        """Return the value, one of several in the case of a list, that a text stands for.

        Raises:
            OptionError: the text stands for none, or the value is out of range.
        """
        try:
            value = self._syntax.parse(text)
        except ValueError as error:
            raise OptionError(f"--{self.flag} takes {self.noun}, not {text!r}.") from error
        return self.checked(value)

    def format(self, value: Any) -> list[str]:
        """Return the texts, one unless the option is a list, that stand for a value."""
        return [self._syntax.format(each) for each in (value if self.is_list else [value])]

    def checked(self, value: Any) -> Any:
        """Return a value, words turned into choices, if it is allowed.

        Raises:
            OptionError: it is not a choice, or out of range.
        """
        low, high = self.option.minimum, self.option.maximum
        if value is None:
            return None
        if self.choices and value not in self.choices:
            raise OptionError(f"--{self.flag} can't be {str(value)!r}: choose {', '.join(self.choices)}.")
        # Compared with the largest float, so that neither infinity nor NaN passes.
        highest = sys.float_info.max if high is None else high
        if low is not None and isinstance(value, int | float | Fraction) and not low <= value <= highest:
            range_ = f"{low:g} or more" if high is None else f"between {low:g} and {high:g}"
            raise OptionError(f"--{self.flag} must be {range_}, not {_short(value)}.")
        return self.kind(value) if self.choices else value


def _short(number: float | Fraction) -> str:
    """Return a number in a few characters; an integer may have any number of digits."""
    try:
        return f"{float(number):g}"
    except OverflowError:
        return "a number with hundreds of digits"


@cache
def options_of(cls: type) -> Mapping[str, OptionField]:
    """Return the options of a dataclass, and of dataclasses in its fields, by their flags, in order."""
    found: dict[str, OptionField] = {}
    for each in _fields(cls).values():
        found |= {each.flag: each} if isinstance(each, OptionField) else options_of(each)
    return found


def build(cls: type[T], values: Mapping[str, Any]) -> T:
    """Return a dataclass, and those in its fields, made from values by flag; others keep their defaults.

    Raises:
        OptionError: the values don't fit each other.
    """
    kind: type = cls
    arguments: dict[str, Any] = {}
    for name, each in _fields(kind).items():
        if not isinstance(each, OptionField):
            arguments[name] = build(each, values)
        elif each.flag in values:
            arguments[name] = values[each.flag]
    return cls(**arguments)


def as_typed(values: Mapping[str, Any], options: Mapping[str, OptionField]) -> str:
    """Return values, by flag, as they are typed in a shell."""
    texts = ((flag, text) for flag, value in values.items() for text in options[flag].format(value))
    return " ".join(quoted(f"--{flag}={text}") for flag, text in texts)


def validate(options: object) -> None:
    """Check all values of a dataclass of options, and turn words into choices; for `__post_init__`.

    Raises:
        OptionError: a value is not allowed.
    """
    cls: type = type(options)
    for each in options_of(cls).values():
        object.__setattr__(options, each.name, each.checked(getattr(options, each.name)))


@cache
def _fields(cls: type) -> Mapping[str, OptionField | type]:
    """Return the fields that are options, and the types of those that hold options, by name."""
    hints = get_type_hints(cls, include_extras=True)
    found = {field.name: _field(field.name, hints[field.name], field.default) for field in fields(cls)}
    return {name: each for name, each in found.items() if each is not None}


def _field(name: str, hint: Any, default: Any) -> OptionField | type | None:
    option = next((each for each in getattr(hint, "__metadata__", ()) if isinstance(each, Option)), None)
    if option is None:
        return hint if isinstance(hint, type) and is_dataclass(hint) else None
    kind = get_args(hint)[0]
    if isinstance(kind, UnionType):
        kind = next(each for each in get_args(kind) if each is not NoneType)
    is_list = get_origin(kind) is tuple
    return OptionField(name, get_args(kind)[0] if is_list else kind, is_list, default, option)
