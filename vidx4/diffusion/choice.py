"""Choose the model and the speed that end within a night on a GPU, if the user leaves them open."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vidx4.diffusion.card import Card
from vidx4.diffusion.models.registry import AUTO, family_of
from vidx4.diffusion.options import AutoLevel, Speed, UpscaleOptions
from vidx4.syntax import format_about, plural
from vidx4.temporal.mode import Temporal

NIGHT_SECONDS = 8 * 3600.0
"""How long a job may take by default that is given neither a model nor a speed."""
MAX_LEVEL_OF_COMPACT = 150
"""Highest noise level that `compact` knows."""

MeasureCard = Callable[[], Card]
"""Measures the GPU that a job will run on."""


@dataclass(frozen=True)
class Frames:
    """The frames of a job."""

    width: int
    """In low-resolution pixels."""
    height: int
    number: int


_ANY = Frames(64, 64, 1)
"""Frames by which speeds are compared: the order is the same for all."""


@dataclass(frozen=True)
class Choice:
    """Options with a model and a speed, and why these."""

    options: UpscaleOptions
    reason: str
    """A sentence's worth, for people; empty if nothing was left to choose."""


def is_open(options: UpscaleOptions) -> bool:
    """Return whether options leave the model or the speed to the program."""
    return AUTO in (options.model, options.speed)


def choose(options: UpscaleOptions, frames: Frames, measure: MeasureCard, night: float) -> Choice:
    """Choose what is open: the best model and speed that end within a night or, if none does, the fastest.

    Candidates are `sd-x4` at each speed, from the best, and then `compact`, as far as they are what the user
    chose.

    Args:
        options: what the user chose.
        frames: the frames to enlarge.
        measure: measures the GPU; called only if there is a choice.
        night: seconds that the job may take.

    Raises:
        ModelError: the model is a folder whose description can't be read.
        MemoryLimitError: the GPU has no memory left.
    """
    candidates = list(_candidates(options))
    if len(candidates) == 1:
        return Choice(candidates[0], "")
    card = measure()
    seconds = [card.seconds(frames.number * _operations(each, frames)) for each in candidates]
    chosen = next((number for number, each in enumerate(seconds) if each <= night), len(candidates) - 1)
    reason = _reason(candidates[: chosen + 1], seconds, f"{plural(frames.number, 'frame')} on {card}", night)
    return Choice(candidates[chosen], reason)


def best(options: UpscaleOptions) -> UpscaleOptions:
    """Return options with the best model and speed in place of what is open."""
    return next(_candidates(options))


def recorded(options: UpscaleOptions, identity: Mapping[str, Any]) -> Choice | None:
    """Return the choice that an earlier run of a job made; None if it made none that the options allow.

    Args:
        options: what the user chose.
        identity: the identity of the earlier run.
    """
    for each in _candidates(options):
        if all(identity.get(name) == value for name, value in _marks(each).items()):
            return Choice(each, f"{_label(each)}: as before")
    return None


def _candidates(options: UpscaleOptions) -> Iterator[UpscaleOptions]:
    """Yield options with nothing left open, from the best to the fastest."""
    models = [name for name, suits in _SUITED.items() if suits(options)] or ["sd-x4"]
    for model in models if options.model == AUTO else [options.model]:
        named = replace(options, model=model)
        yield from faster_and_faster(named) if options.speed == Speed.AUTO else [named]


def faster_and_faster(options: UpscaleOptions) -> Iterator[UpscaleOptions]:
    """Yield options with each speed of their model that takes fewer operations than all better ones."""
    least = math.inf
    for speed in family_of(options.model).defaults:
        each = replace(options, speed=speed)
        if (operations := _operations(each, _ANY)) < least:
            least = operations
            yield each


def _suit_compact(options: UpscaleOptions) -> bool:
    """Return whether options ask for nothing that `compact` lacks."""
    level = options.noise_level
    return (
        not (options.prompt or options.negative_prompt or options.decoder)
        and options.guidance_scale in (None, 1)
        and options.guidance_stop in (None, 1)
        and options.cache_interval in (None, 1)
        and (isinstance(level, AutoLevel) or int(level) <= MAX_LEVEL_OF_COMPACT)
    )


def _suit_sd_x4(options: UpscaleOptions) -> bool:
    """Return whether options ask for nothing that `sd-x4` lacks."""
    return not options.texture


_SUITED = {"sd-x4": _suit_sd_x4, "compact": _suit_compact}
"""Models in order of quality, and what tells whether options suit them."""


def _operations(options: UpscaleOptions, frames: Frames) -> float:
    return family_of(options.model).operations_of_frame(options, frames.width, frames.height)


def _marks(options: UpscaleOptions) -> dict[str, Any]:
    """Return what tells a model at a speed from others, by the names that an identity has for it."""
    family = family_of(options.model)
    steps = family.steps(options)
    return {
        "model": options.model,
        "scheduler": steps.scheduler,
        "steps": steps.num_inference_steps,
        "guidance-stop": steps.guidance_stop,
        "cache-interval": steps.cache_interval,
        "remembers": family.has_memory and steps.remembers and options.temporal == Temporal.MOVING,
    }


def _label(options: UpscaleOptions) -> str:
    return f"model {options.model}, speed {options.speed}"


def _reason(candidates: Sequence[UpscaleOptions], seconds: Sequence[float], what: str, night: float) -> str:
    """Return why the last of some candidates was chosen.

    Args:
        candidates: the one that was chosen, after those that are better.
        seconds: how long each takes.
        what: what takes so long, and on what.
        night: seconds that there are.
    """
    *better, chosen = candidates
    if not better:
        return f"{_label(chosen)}: about {format_about(seconds[0])} for {what}"
    limit = f"longer than {format_about(night)}"
    if chosen.model != better[-1].model:
        last = len(better) - 1
        takes = f"at speed {better[last].speed}, {better[last].model} would take about"
        way_out = f"--model {better[last].model} chooses it all the same"
        return f"{_label(chosen)}: {takes} {format_about(seconds[last])} for {what}, {limit}; {way_out}"
    before, now = map(format_about, seconds[len(better) - 1 : len(better) + 1])
    return f"{_label(chosen)}: about {now} for {what}; {better[-1].speed} would take about {before}, {limit}"
