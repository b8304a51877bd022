"""How Typer is used: options from dataclasses, a short and a full help, errors as one sentence."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass
from itertools import takewhile
from keyword import iskeyword
from typing import Annotated, Any, get_args

import typer
from typer.core import TyperGroup

from vidx4.cli.help import Argument, CommandReference, short_help
from vidx4.cli.options import TerminalOptions
from vidx4.cli.terminal import Terminal
from vidx4.errors import MemoryLimitError, OptionError
from vidx4.option import OptionField, Panel, build, options_of
from vidx4.printing import quoted

REFERENCE: dict[str, CommandReference] = {}
"""All commands, by their names."""


class Program(TyperGroup):
    """The commands; a command line that makes no sense ends with one sentence and an exit code."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        """Run the command that `args` name; the object of its context is the terminal."""
        typed = list(args or ())
        again = " ".join(["vidx4", *(quoted(each) for each in typed if each != "--restart")])
        terminal = Terminal(TerminalOptions(json=asks_for_json(typed)), again)
        extra["standalone_mode"] = False  # otherwise Typer prints its errors, in a box
        try:
            code = super().main(typed, *rest, obj=terminal, **extra)
        except OptionError as error:  # a parser's, or of options that contradict each other
            code = terminal.failure(error)
        except typer.TyperException as error:
            code = error.exit_code
            terminal.error(_sentence(error, typed), code)
        except Exception as error:
            if not _lacks_memory(error):
                terminal.bug(error)
                raise
            code = terminal.failure(MemoryLimitError(_NO_MEMORY))
        raise SystemExit(code or 0)


_NO_MEMORY = "There is not enough memory to start: end other programs, or raise the limit (ulimit -v)."
_SIGNS = ("failed to map", "can't start new thread", "allocate memory", "could not create a primitive")
"""What libraries say when they get no memory."""


def _lacks_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in _SIGNS)


def asks_for_json(arguments: Sequence[str]) -> bool:
    """Return whether a command line, right or wrong, asks for JSON."""
    return "--json" in takewhile(lambda each: each != "--", arguments)


def _sentence(error: typer.TyperException, typed: Sequence[str]) -> str:
    """Return what is wrong with a command line, and where to look it up."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else " ".join(["vidx4", *REFERENCE.keys() & typed[:1]])
    message = error.format_message()
    addresses = (each for each in typed if "://" in each and f"'{each}'" in message)
    if address := next(addresses, None):
        from vidx4.media.container import why_missing

        return why_missing(address)
    return f"{message}{'' if message.endswith(('.', '?')) else '.'} See {path} -h."


app = typer.Typer(
    cls=Program,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Make old videos four times larger, with their own sound and timing.",
    epilog=(
        "Exit codes: 0 all is well, 1 the work failed or something is lost, 2 bad input or options, "
        "75 out of time, 130 stopped."
    ),
)


@dataclass(frozen=True)
class Subset:
    """Annotates a parameter of a command that has only some options of its dataclass, by field."""

    only: Sequence[str] = ()
    without: Sequence[str] = ()

    def options_of(self, cls: type) -> list[OptionField]:
        """Return the options that a command has."""
        if unknown := {*self.only, *self.without} - {each.name for each in options_of(cls).values()}:
            raise ValueError(f"{cls.__name__} has no options {unknown}")
        options = [each for each in options_of(cls).values() if each.name not in self.without]
        return [each for each in options if each.name in self.only] if self.only else options


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function a command; those of its parameters that are dataclasses become options.

    Typer learns from a signature what to parse, so the command gets one with a parameter for each option.
    The function is called with dataclasses built from the values, with the `terminal` and, if it has such a
    parameter, with all values that the user `typed`, by flag. Errors meant for the user become a message.
    """
    parameters = inspect.signature(function).parameters
    groups = {name: group for name, each in parameters.items() if (group := _group(each.annotation))}
    arguments = [each for name, each in parameters.items() if name not in {*groups, "terminal", "typed"}]
    options = [option for _, offered in groups.values() for option in offered]
    options += options_of(TerminalOptions).values()

    def run(context: typer.Context, **values: Any) -> None:
        found = {each.flag: values[_name(each)] for each in options}
        found |= {each.flag: tuple(found[each.flag] or ()) for each in options if each.is_list}
        passed = {each.name: values[each.name] for each in arguments}
        if "typed" in parameters:
            passed["typed"] = {each.flag: found[each.flag] for each in options if _is_typed(context, each)}
        terminal: Terminal = context.obj
        terminal.configure(build(TerminalOptions, found))
        with terminal.session():
            passed |= {name: build(cls, found) for name, (cls, _) in groups.items()}
            function(terminal=terminal, **passed)

    options = sorted(options, key=lambda each: list(Panel).index(each.option.panel))
    context = inspect.signature(run).parameters["context"]
    own = [context, *arguments, *map(_parameter, options), _SHORT_HELP]
    keyword_only = [each.replace(kind=each.KEYWORD_ONLY) for each in own]
    run.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
    name, text = function.__name__, inspect.getdoc(function) or ""
    app.command(name, help=text, context_settings={"help_option_names": ["--help"]})(run)
    REFERENCE[name] = CommandReference(name, text, Argument.shown(arguments), tuple(options))
    return function


def _group(annotation: Any) -> tuple[type, list[OptionField]] | None:
    """Return the dataclass of a parameter, and those of its options that a command has."""
    cls, *notes = get_args(annotation) or (annotation,)
    if not (isinstance(cls, type) and is_dataclass(cls)):
        return None
    subset = notes[0] if notes else Subset()
    return cls, subset.options_of(cls)


def _parameter(option: OptionField) -> inspect.Parameter:
    """Return the parameter that tells Typer of an option."""
    info = typer.Option(
        *option.declarations,
        help=option.option.help,
        rich_help_panel=option.option.panel,
        metavar=option.metavar,
        parser=None if option.kind is bool else option.parse,
        show_default=option.option.default or bool(option.default_text),
    )
    kind = list[option.kind] if option.is_list else option.kind  # type: ignore[name-defined]
    default = None if option.is_list else option.default
    if option.option.syntax and default is not None:
        default = option.default_text  # parsed like a value that is typed
    return inspect.Parameter(
        _name(option), inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info]
    )


def _name(option: OptionField) -> str:
    name = option.flag.replace("-", "_")
    return f"{name}_" if iskeyword(name) else name


def _is_typed(context: typer.Context, option: OptionField) -> bool:
    source = context.get_parameter_source(_name(option))
    return source is not None and source.name == "COMMANDLINE"


def _show_short_help(context: typer.Context, is_wanted: bool) -> None:
    if is_wanted:
        print(short_help(REFERENCE[context.info_name or ""]))  # noqa: T201
        raise typer.Exit


_H = typer.Option(
    "-h", metavar="", is_eager=True, callback=_show_short_help, help="Show only common options."
)
_SHORT_HELP = inspect.Parameter(
    "h", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, _H]
)
