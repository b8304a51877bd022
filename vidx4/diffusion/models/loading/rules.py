"""Rules for the values of settings that come from a file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidx4.errors import ModelError

_SHOWN = 40
"""Most characters of a wrong value that an error shows."""


@dataclass(frozen=True)
class Rule:
    """What a value must be."""

    allows: Callable[[object], bool]
    text: str
    """The same in words, after "it must be"."""
    describe: Callable[[object], str] = lambda value: shown(value)
    """Describes a value that it does not allow, after "it is"."""


Rules = Mapping[str, Rule]
"""Rules for settings, by their names."""


def whole(least: int, most: int) -> Rule:
    """Return the rule for whole numbers within bounds."""
    return Rule(
        lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most,
        f"a whole number from {least} to {most}",
    )


def number(least: float, most: float) -> Rule:
    """Return the rule for numbers within bounds."""
    return Rule(
        lambda value: (
            isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
        ),
        f"a number from {least:g} to {most:g}",
    )


def one_of(*values: str | bool | None) -> Rule:
    """Return the rule for one of a few values."""
    return Rule(
        lambda value: isinstance(value, str | bool | None) and value in values,
        " or ".join(map(str, values)),
    )


def many(rule: Rule, most: int, least: int = 1) -> Rule:
    """Return the rule for lists of values for which a rule holds."""

    def describe(value: object) -> str:
        if not isinstance(value, list) or not least <= len(value) <= most:
            return shown(value)
        return f"a list with {next(rule.describe(each) for each in value if not rule.allows(each))} in it"

    return Rule(
        lambda value: (
            isinstance(value, list) and least <= len(value) <= most and all(map(rule.allows, value))
        ),
        f"a list of {'' if least == most else 'at most '}{most}, each {rule.text}",
        describe,
    )


def either(*rules: Rule) -> Rule:
    """Return the rule for values for which one of several rules holds."""

    def describe(value: object) -> str:
        descriptions = [rule.describe(value) for rule in rules]
        return next((each for each in descriptions if each != shown(value)), shown(value))

    text = ", or ".join(rule.text for rule in rules)
    return Rule(lambda value: any(rule.allows(value) for rule in rules), text, describe)


FLAG = one_of(True, False)
NOTHING = one_of(None)


def chosen(path: Path, found: Mapping[str, Any], rules: Rules) -> dict[str, Any]:
    """Return the settings of a file for which there are rules; others have no effect.

    Args:
        path: the file.
        found: all of its settings.
        rules: what each must be that has an effect.

    Raises:
        ModelError: a value is not as its rule demands.
    """
    settings = {name: found[name] for name in rules if name in found}
    for name, value in settings.items():
        if not rules[name].allows(value):
            raise ModelError(
                f"{path} can't be used: {name} is {rules[name].describe(value)}, but it must be "
                f"{rules[name].text}."
            )
    return settings


def shown(value: object) -> str:
    """Return a value for an error: a short one as it is, a long one by its beginning."""
    if isinstance(value, dict | list):
        return f"a {'list' if isinstance(value, list) else 'table'} of {len(value)}"
    if isinstance(value, int) and abs(value) >= 1 << 64:
        return "a huge number"
    text = repr(value[: _SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
