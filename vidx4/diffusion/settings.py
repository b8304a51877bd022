"""Fill in the options that the user leaves to the model."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from vidx4.diffusion.compiling import why_not_compile
from vidx4.diffusion.models.components import Components, ModelDefaults
from vidx4.diffusion.options import AutoLevel, Recall, Scheduler, Speed, UpscaleOptions
from vidx4.diffusion.schedulers import is_deterministic, most_steps
from vidx4.diffusion.tiles import overlap_of
from vidx4.errors import OptionError
from vidx4.syntax import plural
from vidx4.temporal.mode import Temporal


@dataclass(frozen=True)
class Settings:
    """The options of a run, all of them decided."""

    scheduler: str | None
    """A value of `Scheduler`; None for the one that the model comes with."""
    num_inference_steps: int
    guidance_scale: float
    guidance_stop: float
    cache_interval: int
    noise_level: int
    texture: float
    seed: int
    strength: float
    color_fix: str
    """A value of `ColorFix`."""
    temporal: Temporal
    consistency: float
    reuse_threshold: float
    tile_size: int | None
    compile: str
    remembers: bool
    """Whether the model sees the result of the frame before."""
    recall: Recall | None
    """How it looks back at its raw result; None if it doesn't, or sees something else."""

    @classmethod
    def resolve(cls, options: UpscaleOptions, components: Components) -> Self:
        """Fill in what the options leave to the model.

        Raises:
            OptionError: the model doesn't support an option.
        """
        defaults = components.defaults[Speed(options.speed).preset]
        chosen = defaults.overridden(options)
        if options.recall is not None and not components.sees_last_result:
            raise OptionError(
                f"The model {components.name} isn't shown its last result: --recall is for stream-diffvsr."
            )
        remembers = components.looks_back and defaults.remembers and options.temporal == Temporal.MOVING
        settings = cls(
            scheduler=chosen.scheduler,
            num_inference_steps=chosen.num_inference_steps,
            guidance_scale=chosen.guidance_scale,
            guidance_stop=chosen.guidance_stop,
            cache_interval=chosen.cache_interval,
            noise_level=_noise_level(options.noise_level, defaults, components),
            texture=chosen.texture,
            seed=options.seed,
            strength=options.strength,
            color_fix=chosen.color_fix,
            temporal=Temporal(options.temporal),
            consistency=0.0,
            reuse_threshold=options.reuse_threshold,
            tile_size=options.tile_size,
            compile=options.compile,
            remembers=remembers,
            recall=None if chosen.recall is None or not remembers else Recall(chosen.recall),
        )
        consistency = options.consistency
        if consistency is None:
            consistency = settings._default_consistency(defaults, components)
        settings = replace(settings, consistency=consistency)
        settings._check(components)
        return settings

    def _default_consistency(self, defaults: ModelDefaults, components: Components) -> float:
        follows = self.temporal == Temporal.MOVING and self._is_deterministic(components)
        # In one step, a model that remembers is as steady as real video: a tie would make it steadier.
        is_needed = not components.looks_back or self.num_inference_steps > 1
        return defaults.consistency if follows and is_needed else 0.0

    def by_option(self) -> dict[str, Any]:
        """Return the settings by their names on the command line, without the dashes in front."""
        settings = {name.replace("_", "-"): value for name, value in asdict(self).items()}
        # Tiles are cut by both. A job with another overlap was begun before tiles were of equal size.
        overlap = None if self.tile_size is None else overlap_of(self.tile_size)
        return {"steps": settings.pop("num-inference-steps"), **settings, "tile-overlap": overlap}

    @property
    def ties(self) -> dict[int, float]:
        """Strength with which clean latents follow the motion, by denoising step; 0 only records them."""
        last = self.num_inference_steps - 1
        remembered = {0: 0.0} if self.remembers and self.recall is None and last > 0 else {}
        return remembered | ({last: self.consistency} if self.consistency > 0 else {})

    @property
    def wants_motion(self) -> bool:
        """Whether frames need the motion between them, even if the noise doesn't move."""
        return self.consistency > 0 or self.remembers

    @property
    def warms_up(self) -> bool:
        """Whether the model sees what follows the first frame of a shot before that frame.

        One that is shown its raw result is not: it was trained to start every shot from one frame alone.
        """
        return self.remembers and self.recall is None

    @property
    def draws_anew(self) -> bool:
        """Whether every frame has noise of its own, though it is tied to the one before."""
        return self.recall is Recall.REFERENCE

    def _check(self, components: Components) -> None:
        name = components.name
        self._check_level(components)
        self._check_one_step(components)
        self._check_steps(components)
        if not components.takes_prompts and self.guidance_scale != 1:
            raise OptionError(f"The model {name} takes no prompt to guide it: --guidance-scale must be 1.")
        if not components.takes_prompts and self.guidance_stop != 1:
            raise OptionError(f"The model {name} takes no prompt to guide it: --guidance-stop must be 1.")
        if self.texture > 0 and not components.has_texture:
            raise OptionError(f"The texture of the model {name} can't be chosen: --texture must be 0.")
        if self.cache_interval > 1 and not components.has_deep_features:
            raise OptionError(f"The model {name} has no deep features to reuse: --cache-interval must be 1.")
        if self.compile == "on" and (why := why_not_compile(components)):
            raise OptionError(f"--compile on is not possible: {why}.")
        if self.ties and not self._is_deterministic(components):
            raise OptionError(
                f"The scheduler of {name} draws random noise, so frames can't follow the motion: choose one "
                f"with --scheduler ({', '.join(Scheduler)})."
            )

    def _check_level(self, components: Components) -> None:
        name, highest = components.name, components.max_noise_level
        if self.noise_level > highest == 0:
            raise OptionError(f"The model {name} knows no noise level: --noise-level must be 0, or auto.")
        if self.noise_level > highest:
            raise OptionError(
                f"The model {name} supports --noise-level up to {highest}, not {self.noise_level}."
            )

    def _check_one_step(self, components: Components) -> None:
        name = components.name
        if not components.takes_one_step:
            return
        if self.num_inference_steps != 1:
            raise OptionError(f"The model {name} enlarges a frame in one step: --steps must be 1.")
        if self.scheduler is not None:
            raise OptionError(f"The model {name} enlarges a frame in one step: leave out --scheduler.")

    def _check_steps(self, components: Components) -> None:
        asked = self.num_inference_steps
        most = most_steps(components.scheduler, self.scheduler, asked)
        if most == asked:
            return
        length = components.scheduler.config.num_train_timesteps
        way_out = f"--steps must be at most {most}" if most else "choose another with --scheduler"
        raise OptionError(
            f"The schedule of {components.name} has only {plural(length, 'timestep')}, too few for --steps "
            f"{asked}: {way_out}."
        )

    def _is_deterministic(self, components: Components) -> bool:
        return self.scheduler is not None or is_deterministic(components.scheduler)


def _noise_level(asked: int | AutoLevel | str, defaults: ModelDefaults, components: Components) -> int:
    """Return the level in the model's own range.

    Raises:
        OptionError: the estimate would be raised or lowered by more than that.
    """
    if not isinstance(asked, AutoLevel):
        return int(asked)
    highest, offset = components.max_noise_level, asked.offset
    if highest == 0:
        return abs(offset)  # refused unless 0: there is no level that it could be added to
    if abs(offset) > highest:
        raise OptionError(
            f"The model {components.name} has levels up to {highest}: --noise-level can't be {asked}."
        )
    suited = defaults.noise_level + defaults.level_share * (asked.estimate or 0)
    return max(0, min(highest, round(suited) + offset))
