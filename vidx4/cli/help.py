"""What each command takes, as data: for the short help, the documentation and tests."""

from collections.abc import Iterable
from dataclasses import dataclass
from inspect import Parameter
from itertools import groupby
from textwrap import wrap
from typing import Self

from vidx4.option import OptionField, Panel

WIDTH = 80
_HELP_COLUMN = 30


@dataclass(frozen=True)
class Argument:
    """A positional argument."""

    metavar: str
    help: str
    is_required: bool

    @classmethod
    def of(cls, parameter: Parameter) -> Self:
        """Return the argument that a parameter of a command declares to Typer."""
        info = parameter.annotation.__metadata__[0]
        return cls(info.metavar, info.help, parameter.default is parameter.empty)

    @classmethod
    def shown(cls, parameters: Iterable[Parameter]) -> "tuple[Self, ...]":
        """Return the arguments that are shown to users."""
        return tuple(cls.of(each) for each in parameters if not each.annotation.__metadata__[0].hidden)


@dataclass(frozen=True)
class CommandReference:
    """A command, its arguments and its options."""

    name: str
    help: str
    arguments: tuple[Argument, ...]
    options: tuple[OptionField, ...]
    """In the order of their panels."""

    @property
    def usage(self) -> str:
        """How the command is written."""
        arguments = (each.metavar if each.is_required else f"[{each.metavar}]" for each in self.arguments)
        return " ".join(["vidx4", self.name, *arguments, "[OPTIONS]"])

    def by_panel(self) -> dict[Panel, tuple[OptionField, ...]]:
        """Return the options under their headings."""
        return {panel: tuple(group) for panel, group in groupby(self.options, lambda each: each.option.panel)}


def short_help(command: CommandReference) -> str:
    """Return a help text of the options that most people use, on one screen."""
    lines = [f"Usage: {command.usage}", "", *wrap(command.help.partition("\n\n")[0], WIDTH), ""]
    lines += [line for each in command.arguments for line in _row(f"  {each.metavar}", each.help)]
    for panel, options in command.by_panel().items():
        common = [each for each in options if each.option.is_common]
        lines += [f"{panel}:", *(line for each in common for line in _option(each))] if common else []
    num_hidden = sum(not each.option.is_common for each in command.options)
    return "\n".join([*lines, "", f"{num_hidden} more options: vidx4 {command.name} --help"])


def _option(option: OptionField) -> list[str]:
    indent = "  " if option.option.short else "      "
    default = f" [{option.default_text}]" if option.default_text else ""
    flags = ", ".join(option.declarations)
    return _row(f"{indent}{flags} {option.metavar}", option.option.help + default)


def _row(left: str, text: str) -> list[str]:
    """Return lines with a term on the left and its help, wrapped, on the right."""
    indent = " " * _HELP_COLUMN
    lines = wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent)
    if len(left) < _HELP_COLUMN - 1:
        return [left.ljust(_HELP_COLUMN) + lines[0].lstrip(), *lines[1:]]
    return [left, *lines]
