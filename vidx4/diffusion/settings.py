"""What is chosen where the options leave it to the model."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from vidx4.diffusion.compiling import why_not_compile
from vidx4.diffusion.models.components import Components, ModelDefaults
from vidx4.diffusion.options import Scheduler, Speed, UpscaleOptions
from vidx4.diffusion.schedulers import is_deterministic
from vidx4.errors import OptionError
from vidx4.temporal.mode import Temporal


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
        return self.consistency > 0 or self.remembers

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
                f"another, {', '.join(Scheduler)}."
            )

    def _is_deterministic(self, components: Components) -> bool:
        return self.scheduler is not None or is_deterministic(components.scheduler)


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
