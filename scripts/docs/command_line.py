"""The reference of the command line, read from the program's own parser."""

from collections.abc import Iterator
from enum import Enum
from typing import Any

import typer.main

from scripts.docs.markdown import cell, code, table
from vidx4.cli.commands import app

HIDDEN = frozenset({"help"})
DEFAULT_PANEL = "Options"


def reference() -> str:
    """Return all commands, and their arguments and options by panel, in Markdown."""
    group = program()
    sections = [_section("vidx4", group, list(_options(group)))]
    sections += [_command(name, command) for name, command in group.commands.items() if not command.hidden]
    return "\n\n".join(sections)


def program() -> Any:
    """Return the program's parser, which has the commands by name in `commands`."""
    return typer.main.get_command(app)


def _command(name: str, command: Any) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    rows = [(code(_name(each)), cell(each.help or "")) for each in arguments]
    head = table(("Argument", "Description"), rows) if arguments else ""
    return _section(f"vidx4 {name}", command, list(_options(command)), head)


def _name(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return str(name) if argument.required else f"[{name}]"


def _section(title: str, command: Any, options: list[Any], arguments: str = "") -> str:
    panels: dict[str, list[Any]] = {}
    for option in options:
        panels.setdefault(getattr(option, "rich_help_panel", None) or DEFAULT_PANEL, []).append(option)
    names = [_name(each) for each in command.params if each.param_type_name == "argument"]
    usage = " ".join([title, *(names or ["COMMAND"] * hasattr(command, "commands")), "[OPTIONS]"])
    parts = [f"## {title}", _paragraphs(command.help or ""), f"```text\n{usage}\n```", arguments]
    for panel, members in panels.items():
        rows = [_row(option, command) for option in members]
        parts += [f"### {panel}: {title}", table(("Option", "Default", "Description"), rows)]
    return "\n\n".join(filter(None, parts))


def _options(command: Any) -> Iterator[Any]:
    for each in command.params:
        if each.param_type_name == "option" and not each.hidden and each.name not in HIDDEN:
            yield each


def _row(option: Any, command: Any) -> tuple[str, str, str]:
    names = ", ".join(map(code, sorted((*option.opts, *option.secondary_opts), key=len)))
    value = "" if option.is_flag else f" {code(_value(option, command))}"
    return f"{names}{value}", _default(option), cell(option.help or "")


def _value(parameter: Any, command: Any) -> str:
    return str(parameter.metavar or parameter.display_type(_context(command)))


def _default(option: Any) -> str:
    if isinstance(option.show_default, str):  # in words, if the value depends on something else
        return cell(option.show_default)
    value = option.default
    if value is None or value == "" or option.is_flag or option.multiple or callable(value):
        return ""
    return code(str(value.value if isinstance(value, Enum) else value))


def _context(command: Any) -> Any:
    return command.context_class(command, resilient_parsing=True)


def _paragraphs(text: str) -> str:
    return "\n\n".join(cell(paragraph) for paragraph in text.split("\n\n"))
