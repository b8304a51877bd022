"""What the fields of option classes have in common: checks of their values."""

from enum import StrEnum

from vidx4.errors import OptionError


def check_choice(flag: str, value: str | None, choices: type[StrEnum]) -> None:
    """Make sure that a value is one of those of an option; None stands for none.

    Raises:
        OptionError: it is not.
    """
    if value is not None and value not in list(choices):
        raise OptionError(f"{flag} can't be {value!r}: choose {', '.join(choices)}.")


def check_range(flag: str, value: float | None, least: float, most: float, range_: str) -> None:
    """Make sure that a number is in the range of an option, `range_` in words; None stands for none.

    Raises:
        OptionError: it is not.
    """
    if value is not None and not least <= value <= most:
        raise OptionError(f"{flag} must be {range_}, not {value:g}.")
