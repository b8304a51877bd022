"""Settings to compare: every combination of some values of the model's options."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

from vidx4.diffusion.models.loading.model_file import is_model_file, local_file
from vidx4.diffusion.options import UpscaleOptions
from vidx4.errors import OptionError
from vidx4.jobs.preview.run import Variant
from vidx4.jobs.request import Request
from vidx4.option import as_typed, build, options_of
from vidx4.printing import quoted

_OPTIONS = {**options_of(UpscaleOptions), **options_of(Request)}
"""Options that a preview and its command may have."""
_NOT_SHOWN = ("ignore-memory", "overwrite", "strict")


def variants_of(source: Path, typed: Mapping[str, Any], sweeps: Sequence[str]) -> list[Variant]:
    """Return the settings to compare: every combination of the swept values, and else what the user typed.

    Args:
        source: the video.
        typed: values that the user gave, by flag.
        sweeps: values of options, such as `noise-level=0,20`; without any, there is one setting.

    Raises:
        OptionError: there is no such option, it takes no such value, or something is swept twice.
    """
    ignores_memory = bool(typed.get("ignore-memory"))
    typed = {flag: value for flag, value in typed.items() if flag in _OPTIONS and flag not in _NOT_SHOWN}
    values: dict[str, list[Any]] = {}
    for flag, swept in map(_parse, sweeps):
        if flag in values or len(set(swept)) < len(swept):
            raise OptionError(f"--sweep names {flag} or a value of it twice: give it once, as {flag}=1,2.")
        values[flag] = swept
    grid = (dict(zip(values, each, strict=True)) for each in product(*values.values()))
    names = _short_names(values.get("model", []))
    variants = [_variant(source, typed, chosen, names) for chosen in grid]
    _check_differ(variants)
    return [replace(each, options=replace(each.options, ignore_memory=ignores_memory)) for each in variants]


def _check_differ(variants: Sequence[Variant]) -> None:
    """Make sure that no two settings are the same thing written in two ways, and that all have own names.

    Raises:
        OptionError: two are the same.
    """
    for one, other in combinations(variants, 2):
        if one.options == other.options or one.file_label == other.file_label:
            raise OptionError(
                f"--sweep gives the same twice: {one.label} and {other.label}. Leave one of them out."
            )


def _short_names(models: Sequence[str]) -> Mapping[str, str]:
    """Return short names of models: of files without folder and suffix, unless two would be the same."""
    short = {name: Path(name).stem if is_model_file(name) else name for name in models}
    return short if len(set(short.values())) == len(short) else {name: name for name in models}


def _variant(
    source: Path, typed: Mapping[str, Any], swept: Mapping[str, Any], names: Mapping[str, str]
) -> Variant:
    labels = {**swept, **({"model": names[swept["model"]]} if "model" in swept else {})}
    values = {**typed, **swept}
    name = str(source) if not str(source).startswith("-") else f"./{source}"
    return Variant(
        label=", ".join(f"{flag} {value}" for flag, value in labels.items()),
        options=build(UpscaleOptions, values),
        flags={flag: " ".join(_OPTIONS[flag].format(value)) for flag, value in values.items()},
        command=f"vidx4 upscale {quoted(name)} {as_typed(values, _OPTIONS)}".rstrip(),
    )


def _parse(sweep: str) -> tuple[str, list[Any]]:
    flag, _, listed = sweep.removeprefix("--").partition("=")
    texts = [text.strip() for text in listed.split(",")]
    if not all(texts):
        raise OptionError(f"--sweep takes an option and values, as in noise-level=0,20,60, not {sweep!r}.")
    options = options_of(UpscaleOptions)
    if flag not in options or flag in _NOT_SHOWN:
        raise OptionError(f"--sweep {flag}: the model has no option --{flag}.")
    if flag == "model":
        _check_models(listed.split(","))
    return flag, [options[flag].parse(text) for text in texts]


def _check_models(texts: Sequence[str]) -> None:
    """Check the files among models before the hub is asked for others.

    Raises:
        OptionError: there is a file whose name has commas, which would be taken for several models.
        ModelError: a file is missing.
    """
    for start, stop in combinations(range(len(texts) + 1), 2):
        name = ",".join(texts[start:stop]).strip()
        if stop > start + 1 and is_model_file(name) and Path(name).expanduser().is_file():
            raise OptionError(
                f"--sweep can't take the model {name!r}, since its name has a comma. Rename it."
            )
    for text in texts:
        local_file(text.strip())
