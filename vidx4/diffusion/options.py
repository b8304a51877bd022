"""What the user may choose about the picture, and what is chosen where nobody says."""

import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from vidx4.diffusion.compiling import why_not_compile
from vidx4.diffusion.models import Components, ModelDefaults, Speed
from vidx4.diffusion.schedulers import SCHEDULERS, is_deterministic
from vidx4.errors import OptionError
from vidx4.temporal.follow import Temporal

MIN_TILE_SIZE = 32
MAX_STEPS = 999


@dataclass(frozen=True)
class UpscaleOptions:
    """What decides how a frame looks; None leaves it to the model."""

    model: str = "auto"
    """`auto`, `compact`, `sd-x4`, a hub repository id, or a folder in diffusers format."""
    prompt: str = ""
    negative_prompt: str = ""
    speed: str = Speed.QUALITY
    """What the model chooses where the following are None: a value of `Speed`."""
    scheduler: str | None = None
    """One of `SCHEDULERS`."""
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    guidance_stop: float | None = None
    """Share of the steps, from the first on, that are guided."""
    cache_interval: int | None = None
    """Of so many steps, one computes the deep features that the others use again."""
    noise_level: int | None = None
    """How bad the source is: 0 trusts it, more restores more; sd-x4 gets as much noise on what it sees."""
    seed: int = 0
    strength: float = 1.0
    """Share of the result in a blend with the plain bicubic enlargement."""
    temporal: str = Temporal.MOVING
    """How frames hold together: a value of `Temporal`."""
    consistency: float | None = None
    """How firmly detail follows the motion from the frame before, as latents, from 0 to 1."""
    steadiness: float = 0.0
    """How firmly the finished picture's detail follows the motion from the frame before, from 0 to 1."""
    reuse_threshold: float = 0.0
    """Mean difference from the last frame, in 8-bit levels, up to which its result is used again."""
    tile_size: int | None = None
    """Side, in low-resolution pixels, of tiles that are denoised independently; None for whole frames."""
    device: str = "auto"
    dtype: str = "auto"
    compile: str = "auto"
    """Whether the denoiser is compiled first: `on`, `off`, or `auto`, where that repays."""
    max_memory: int | None = None
    """Bytes of the device that may be used; None for most of what it has."""

    def __post_init__(self) -> None:
        for name in ("strength", "consistency", "steadiness", "guidance_stop"):
            self._check_range(name, 0, 1, "between 0 and 1")
        for name in ("guidance_scale", "noise_level", "reuse_threshold"):
            self._check_range(name, 0, sys.float_info.max, "0 or more")
        self._check_range("cache_interval", 1, MAX_STEPS, "1 or more")
        self._check_range("num_inference_steps", 1, MAX_STEPS, f"between 1 and {MAX_STEPS}", "steps")
        self._check_range("tile_size", MIN_TILE_SIZE, sys.maxsize, f"{MIN_TILE_SIZE} or more")
        self._check_choice("speed", Speed)
        self._check_choice("compile", ("auto", "on", "off"))
        self._check_choice("scheduler", (None, *SCHEDULERS))
        self._check_choice("temporal", Temporal)
        self._check_ties()

    def _check_range(self, field: str, least: float, most: float, range_: str, name: str = "") -> None:
        value = getattr(self, field)
        if value is not None and not least <= value <= most:
            raise OptionError(f"The {name or field.replace('_', ' ')} must be {range_}, not {value:g}.")

    def _check_choice(self, field: str, choices: Iterable[str | None]) -> None:
        value = getattr(self, field)
        if value not in list(choices):
            name = {"temporal": "temporal mode", "compile": "choice to compile"}.get(field, field)
            raise OptionError(f"There is no {name} {value!r}: choose {', '.join(filter(None, choices))}.")

    def _check_ties(self) -> None:
        tied = {
            "consistency": self.consistency,
            "steadiness": self.steadiness,
            "reuse threshold": self.reuse_threshold,
        }
        for name, value in tied.items():
            if self.temporal == Temporal.OFF and value:
                raise OptionError(f"A {name} ties frames together, and the temporal mode off lets them go.")


@dataclass(frozen=True)
class Settings:
    """The options of a run with nothing left open."""

    scheduler: str | None
    """None for the one that the model comes with."""
    num_inference_steps: int
    guidance_scale: float
    guidance_stop: float
    cache_interval: int
    noise_level: int
    seed: int
    strength: float
    temporal: Temporal
    consistency: float
    steadiness: float
    reuse_threshold: float
    tile_size: int | None
    compile: str
    remembers: bool
    """Whether the model sees what became of the frame before."""

    @classmethod
    def resolve(cls, options: UpscaleOptions, components: Components) -> Self:
        """Fill in what the options leave to the model.

        Raises:
            OptionError: the options don't fit the model.
        """
        defaults = components.defaults[Speed(options.speed)]
        num_steps = _or(options.num_inference_steps, defaults.num_inference_steps)
        remembers = components.memory is not None and defaults.remembers
        settings = cls(
            scheduler=_or(options.scheduler, defaults.scheduler),
            num_inference_steps=num_steps,
            guidance_scale=_or(options.guidance_scale, defaults.guidance_scale),
            guidance_stop=_or(options.guidance_stop, defaults.guidance_stop),
            cache_interval=_or(options.cache_interval, defaults.cache_interval),
            noise_level=_or(options.noise_level, defaults.noise_level),
            seed=options.seed,
            strength=options.strength,
            temporal=Temporal(options.temporal),
            consistency=0.0,
            steadiness=options.steadiness,
            reuse_threshold=options.reuse_threshold,
            tile_size=options.tile_size,
            compile=options.compile,
            remembers=remembers and options.temporal == Temporal.MOVING,
        )
        consistency = _or(options.consistency, settings._default_consistency(defaults, components))
        settings = replace(settings, consistency=consistency)
        settings._check(components)
        return settings

    def _default_consistency(self, defaults: ModelDefaults, components: Components) -> float:
        follows = self.temporal == Temporal.MOVING and self._is_deterministic(components)
        # One step of a model that remembers holds still by itself: more would be steadier than the truth.
        is_needed = components.memory is None or self.num_inference_steps > 1
        return defaults.consistency if follows and is_needed else 0.0

    def by_option(self) -> dict[str, Any]:
        """Return the settings by the names that they have on the command line."""
        settings = {name.replace("_", "-"): value for name, value in asdict(self).items()}
        return {"steps": settings.pop("num-inference-steps"), **settings}

    @property
    def ties(self) -> dict[int, float]:
        """How firmly clean latents follow the motion, by denoising step; 0 where they are only remembered."""
        last = self.num_inference_steps - 1
        remembered = {0: 0.0} if self.remembers and last > 0 else {}
        return remembered | ({last: self.consistency} if self.consistency > 0 else {})

    @property
    def wants_motion(self) -> bool:
        """Whether frames follow the motion, whatever the noise does."""
        return self.consistency > 0 or self.steadiness > 0 or self.remembers

    def _check(self, components: Components) -> None:
        name, highest = components.name, components.max_noise_level
        if self.noise_level > highest:
            raise OptionError(f"The model {name} takes noise levels up to {highest}, not {self.noise_level}.")
        if components.prompt_embeds is None and self.guidance_scale != 1:
            raise OptionError(f"The model {name} takes no prompt, so there is nothing for guidance to weigh.")
        if components.prompt_embeds is None and self.guidance_stop != 1:
            raise OptionError(f"The model {name} takes no prompt, so there is no guidance to stop.")
        if self.cache_interval > 1 and not components.has_deep_features:
            raise OptionError(f"The model {name} has no deep features to keep: its cache interval is 1.")
        if self.compile == "on" and (why := why_not_compile(components)):
            raise OptionError(f"The denoiser can't be compiled: {why}.")
        if self.ties and not self._is_deterministic(components):
            raise OptionError(
                f"The scheduler of {name} draws noise of its own, so nothing can follow the motion: choose "
                f"another, {', '.join(SCHEDULERS)}."
            )

    def _is_deterministic(self, components: Components) -> bool:
        return self.scheduler is not None or is_deterministic(components.scheduler)


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
