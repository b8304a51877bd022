"""Settings to compare: every combination of some values of the model's options."""

from collections.abc import Sequence
from itertools import product
from typing import Any

from vidx4.diffusion.options import UpscaleOptions
from vidx4.errors import OptionError
from vidx4.option import options_of


def combinations(sweeps: Sequence[str]) -> list[dict[str, Any]]:
    """Return every combination of values, by flag, of sweeps such as `noise-level=0,20`; one for no sweep.

    Raises:
        OptionError: there is no such option, or it takes no such value.
    """
    values = dict(map(_parse, sweeps))
    return [dict(zip(values, combination, strict=True)) for combination in product(*values.values())]


def _parse(sweep: str) -> tuple[str, list[Any]]:
    flag, _, listed = sweep.removeprefix("--").partition("=")
    texts = [text.strip() for text in listed.split(",") if text.strip()]
    if not texts:
        raise OptionError(f"--sweep takes an option and values, as in noise-level=0,20,60, not {sweep!r}.")
    options = options_of(UpscaleOptions)
    if flag not in options:
        raise OptionError(f"--sweep {flag}: the model has no option --{flag}.")
    return flag, [options[flag].parse(text) for text in texts]
