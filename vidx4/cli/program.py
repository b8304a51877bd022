"""How Typer is used: options from dataclasses, a short and a full help, errors as one sentence."""

import inspect
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Annotated, Any, get_args

import typer
from typer.core import TyperGroup

from vidx4.cli.options import TerminalOptions, parameter_name
from vidx4.cli.reference import Argument, CommandReference, short_help
from vidx4.cli.terminal import Terminal
from vidx4.errors import OptionError
from vidx4.option import OptionField, Panel, build, options_of

REFERENCE: dict[str, CommandReference] = {}
"""All commands, by their names."""


class Program(TyperGroup):
    """The commands; a command line that makes no sense ends with one sentence and an exit code."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        """Run the command that `args` name; the object of its context is the line that runs it again."""
        typed = list(args or ())
        again = shlex.join(["vidx4", *(each for each in typed if each != "--restart")])
        terminal = Terminal(TerminalOptions(json="--json" in typed), again)
        extra["standalone_mode"] = False  # otherwise Typer prints its errors, in a box
        try:
            code = super().main(typed, *rest, obj=again, **extra)
        except OptionError as error:  # a parser's, or of options that contradict each other
            code = terminal.failure(error)
        except typer.TyperException as error:
            context = getattr(error, "ctx", None)
            path = context.command_path if context else "vidx4"
            terminal.error(f"{error.format_message().rstrip('.')}; see {path} -h.")
            code = error.exit_code
        raise SystemExit(code or 0)


app = typer.Typer(
    cls=Program,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Make old videos four times larger, with their own sound and timing.",
)


@dataclass(frozen=True)
class Subset:
    """Annotates a command's parameter to offer only some options of its dataclass, by the names of their fields."""

    only: Sequence[str] = ()
    without: Sequence[str] = ()

    def options_of(self, cls: type) -> list[OptionField]:
        """Return the options of a dataclass that are offered."""
        options = [each for each in options_of(cls).values() if each.name not in self.without]
        return [each for each in options if each.name in self.only] if self.only else options


@dataclass(frozen=True)
class _Group:
    """A parameter of a command that is a dataclass of options."""

    name: str
    cls: type
    options: Sequence[OptionField]

    def build(self, values: dict[str, Any]) -> Any:
        """Return the dataclass, from values that are taken out of those that Typer found."""
        found = {each: values.pop(parameter_name(each.flag)) for each in self.options}
        return build(
            self.cls, {each.flag: tuple(v or ()) if each.is_list else v for each, v in found.items()}
        )


_TERMINAL = _Group("terminal", TerminalOptions, list(options_of(TerminalOptions).values()))


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function a command; its parameters that are dataclasses are built from options.

    Typer learns from a signature what there is to parse. So the command gets one that has a parameter for each
    option, and the function gets the dataclasses built from the values that Typer found. Errors meant for the user
    become a message and an exit code.
    """
    groups, arguments = _split(function)
    options = [option for group in (*groups, _TERMINAL) for option in group.options]
    options.sort(key=lambda option: list(Panel).index(option.option.panel))

    def run(context: typer.Context, **values: Any) -> None:
        terminal = Terminal(_TERMINAL.build(values), context.obj)
        with terminal.session():
            built = {group.name: group.build(values) for group in groups}
            function(context, terminal, **built, **values)

    own = [inspect.signature(run).parameters["context"], *arguments, *map(_parameter, options), _SHORT_HELP]
    keyword_only = [each.replace(kind=each.KEYWORD_ONLY) for each in own]
    run.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
    name, text = function.__name__, inspect.getdoc(function) or ""
    app.command(name, help=text, context_settings={"help_option_names": ["--help"]})(run)
    REFERENCE[name] = CommandReference(name, text, tuple(map(_argument, arguments)), tuple(options))
    return function


def _split(function: Callable[..., None]) -> tuple[list[_Group], list[inspect.Parameter]]:
    """Return the dataclasses and the positional arguments that a command takes."""
    groups, arguments = [], []
    for parameter in list(inspect.signature(function).parameters.values())[2:]:
        cls, *notes = get_args(parameter.annotation) or (parameter.annotation,)
        if isinstance(cls, type) and is_dataclass(cls):
            subset = notes[0] if notes else Subset()
            groups.append(_Group(parameter.name, cls, subset.options_of(cls)))
        else:
            arguments.append(parameter)
    return groups, arguments


def _parameter(option: OptionField) -> inspect.Parameter:
    """Return the parameter by which Typer knows an option."""
    flags = f"--{option.flag}/--no-{option.flag}" if option.default is True else f"--{option.flag}"
    declared = typer.Option(
        *filter(None, (flags, option.option.short)),
        help=option.option.help,
        rich_help_panel=option.option.panel,
        metavar=option.metavar or None,
        parser=None if option.kind is bool else option.parse,
        show_default=option.default_text or False,
    )
    kind = list[option.kind] if option.is_list else option.kind  # type: ignore[name-defined]
    return inspect.Parameter(
        parameter_name(option.flag),
        inspect.Parameter.KEYWORD_ONLY,
        default=None if option.is_list else option.default,
        annotation=Annotated[kind, declared],
    )


def _argument(parameter: inspect.Parameter) -> Argument:
    """Return what is known of a positional argument."""
    info = parameter.annotation.__metadata__[0]
    return Argument(info.metavar, info.help, parameter.default is parameter.empty)


def _show_short_help(context: typer.Context, wanted: bool) -> None:
    if wanted:
        typer.echo(short_help(REFERENCE[context.command.name or ""]))
        raise typer.Exit


_SHORT_HELP = inspect.Parameter(
    "h",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[
        bool,
        typer.Option(
            "-h",
            is_eager=True,
            expose_value=False,
            callback=_show_short_help,
            help="Show the options that matter most.",
        ),
    ],
)
