"""What the user may choose about the picture, and what is chosen where nobody says."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Self

from vidx4.diffusion.models import Components
from vidx4.errors import OptionError
from vidx4.temporal.follow import Temporal

MIN_TILE_SIZE = 32


@dataclass(frozen=True)
class UpscaleOptions:
    """What decides how a frame looks; None leaves it to the model."""

    model: str = "auto"
    """`auto`, `compact`, `sd-x4`, a hub repository id, or a folder in diffusers format."""
    prompt: str = ""
    negative_prompt: str = ""
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
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

    def __post_init__(self) -> None:
        for name, value in {
            "strength": self.strength,
            "consistency": self.consistency,
            "steadiness": self.steadiness,
        }.items():
            if value is not None and not 0 <= value <= 1:
                raise OptionError(f"The {name} must be between 0 and 1, not {value:g}.")
        for name, value in {
            "guidance scale": self.guidance_scale,
            "noise level": self.noise_level,
            "reuse threshold": self.reuse_threshold,
        }.items():
            if value is not None and not 0 <= value < math.inf:
                raise OptionError(f"The {name} must be 0 or more, not {value:g}.")
        if self.num_inference_steps is not None and not 1 <= self.num_inference_steps <= 999:
            raise OptionError(f"The steps must be between 1 and 999, not {self.num_inference_steps}.")
        if self.temporal not in list(Temporal):
            raise OptionError(f"There is no temporal mode {self.temporal!r}: choose {', '.join(Temporal)}.")
        if self.tile_size is not None and self.tile_size < MIN_TILE_SIZE:
            raise OptionError(f"The tile size must be {MIN_TILE_SIZE} or more, not {self.tile_size}.")
        self._check_ties()

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

    num_inference_steps: int
    guidance_scale: float
    noise_level: int
    seed: int
    strength: float
    temporal: Temporal
    consistency: float
    steadiness: float
    reuse_threshold: float
    tile_size: int | None
    remembers: bool
    """Whether the model sees what became of the frame before."""

    @classmethod
    def resolve(cls, options: UpscaleOptions, components: Components) -> Self:
        """Fill in what the options leave to the model.

        Raises:
            OptionError: the options don't fit the model.
        """
        defaults = components.defaults
        num_steps = _or(options.num_inference_steps, defaults.num_inference_steps)
        settings = cls(
            num_inference_steps=num_steps,
            guidance_scale=_or(options.guidance_scale, defaults.guidance_scale),
            noise_level=_or(options.noise_level, defaults.noise_level),
            seed=options.seed,
            strength=options.strength,
            temporal=Temporal(options.temporal),
            consistency=_or(options.consistency, _default_consistency(options, components, num_steps)),
            steadiness=options.steadiness,
            reuse_threshold=options.reuse_threshold,
            tile_size=options.tile_size,
            remembers=components.memory is not None and options.temporal == Temporal.MOVING,
        )
        settings._check(components)
        return settings

    def by_option(self) -> dict[str, Any]:
        """Return the settings by the names that they have on the command line."""
        settings = {name.replace("_", "-"): value for name, value in asdict(self).items()}
        del settings["remembers"]
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
        if self.ties and not components.is_deterministic:
            raise OptionError(
                f"The scheduler of {name} draws noise of its own or predicts no clean latents, so they can't "
                f"follow the motion: use a model with DDIM, or {self._way_out}."
            )

    @property
    def _way_out(self) -> str:
        return "the temporal mode fixed" if self.remembers else "a consistency of 0"


def _default_consistency(options: UpscaleOptions, components: Components, num_steps: int) -> float:
    follows = options.temporal == Temporal.MOVING and components.is_deterministic
    # One step of a model that remembers holds still by itself: more would be steadier than the truth.
    is_needed = components.memory is None or num_steps > 1
    return components.defaults.consistency if follows and is_needed else 0.0


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
