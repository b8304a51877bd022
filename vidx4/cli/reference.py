"""What each command takes, as data: for the short help, the documentation and tests."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from textwrap import wrap

from vidx4.option import OptionField, Panel

WIDTH = 80
_HELP_COLUMN = 32


@dataclass(frozen=True)
class Argument:
    """A positional argument."""

    metavar: str
    help: str
    is_required: bool


@dataclass(frozen=True)
class CommandReference:
    """A command, its arguments and its options."""

    name: str
    help: str
    arguments: tuple[Argument, ...]
    options: tuple[OptionField, ...]

    @property
    def usage(self) -> str:
        """How the command is written."""
        arguments = (each.metavar if each.is_required else f"[{each.metavar}]" for each in self.arguments)
        return " ".join(["vidx4", self.name, *arguments, "[OPTIONS]"])

    def by_panel(self) -> dict[Panel, tuple[OptionField, ...]]:
        """Return the options under their headings, those of each in the order of its classes."""
        order = list(Panel)
        options = sorted(self.options, key=lambda each: order.index(each.option.panel))
        return {panel: tuple(group) for panel, group in groupby(options, lambda each: each.option.panel)}


def flags_of(option: OptionField) -> str:
    """Return the forms of an option and its placeholder, as help texts show them."""
    long = f"--no-{option.flag}" if option.default is True else f"--{option.flag}"
    return (
        f"{option.option.short}, {long} {option.metavar}"
        if option.option.short
        else f"{long} {option.metavar}"
    )


def short_help(command: CommandReference) -> str:
    """Return a help text of the options that most people use, on one screen."""
    lines = [f"Usage: {command.usage}", "", *wrap(command.help.partition("\n\n")[0], WIDTH), ""]
    lines += [line for each in command.arguments for line in _row(f"  {each.metavar}", each.help)]
    for panel, options in command.by_panel().items():
        common = [each for each in options if each.option.is_common]
        lines += [f"{panel}:", *_rows(common)] if common else []
    hidden = len(command.options) - sum(each.option.is_common for each in command.options)
    return "\n".join([*lines, "", f"{hidden} more options: vidx4 {command.name} --help"])


def _rows(options: Sequence[OptionField]) -> Iterator[str]:
    for each in options:
        default = f" [{each.default_text}]" if each.default_text else ""
        left = flags_of(each) if each.option.short else f"    {flags_of(each)}"
        yield from _row(f"  {left}", each.option.help + default)


def _row(left: str, text: str) -> list[str]:
    """Return lines with a term on the left and its help, wrapped, on the right."""
    indent = " " * _HELP_COLUMN
    lines = wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent)
    if len(left) > _HELP_COLUMN - 2:
        return [left, *lines]
    return [left.ljust(_HELP_COLUMN) + lines[0].lstrip(), *lines[1:]]
