"""What the user may choose about the picture."""

import sys
from dataclasses import dataclass
from enum import StrEnum

from vidx4.errors import OptionError
from vidx4.option import check_choice, check_range
from vidx4.temporal.mode import Temporal

MIN_TILE_SIZE = 32
MAX_STEPS = 999


class Speed(StrEnum):
    """What is given up for time."""

    QUALITY = "quality"
    """Nothing."""
    BALANCED = "balanced"
    FAST = "fast"


class Scheduler(StrEnum):
    """What takes latents from one step to the next; none of these draws noise of its own."""

    DDIM = "ddim"
    """Song et al. 2021."""
    DPMPP = "dpmpp"
    """DPM-Solver++ (2M), Lu et al. 2022."""
    UNIPC = "unipc"
    """Zhao et al. 2023."""


class Compile(StrEnum):
    """Whether the denoiser is compiled before the work."""

    AUTO = "auto"
    """Where that repays."""
    ON = "on"
    OFF = "off"


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
    """A value of `Scheduler`."""
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
    compile: str = Compile.AUTO
    """A value of `Compile`."""
    max_memory: int | None = None
    """Bytes of the device that may be used; None for most of what it has."""

    def __post_init__(self) -> None:
        for name in ("strength", "consistency", "steadiness", "guidance_stop"):
            check_range(_flag(name), getattr(self, name), 0, 1, "between 0 and 1")
        for name in ("guidance_scale", "noise_level", "reuse_threshold"):
            check_range(_flag(name), getattr(self, name), 0, sys.float_info.max, "0 or more")
        check_range("--cache-interval", self.cache_interval, 1, MAX_STEPS, "1 or more")
        check_range("--steps", self.num_inference_steps, 1, MAX_STEPS, f"between 1 and {MAX_STEPS}")
        check_range("--tile-size", self.tile_size, MIN_TILE_SIZE, sys.maxsize, f"{MIN_TILE_SIZE} or more")
        check_choice("--speed", self.speed, Speed)
        check_choice("--compile", self.compile, Compile)
        check_choice("--scheduler", self.scheduler, Scheduler)
        check_choice("--temporal", self.temporal, Temporal)
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


def _flag(field: str) -> str:
    return f"--{field.replace('_', '-')}"
