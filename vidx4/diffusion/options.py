"""Options of the picture."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from vidx4.errors import OptionError
from vidx4.option import Option, Panel, options_of, validate
from vidx4.syntax import SIZE, Syntax
from vidx4.temporal.mode import Temporal

MIN_TILE_SIZE = 32
MAX_STEPS = 999


class Speed(StrEnum):
    """How much quality is traded for time."""

    AUTO = "auto"
    """The best that ends within a night on this GPU; the best of all on a CPU, and for still pictures."""
    QUALITY = "quality"
    BALANCED = "balanced"
    FAST = "fast"

    @property
    def preset(self) -> "Speed":
        """The speed whose settings are used: `auto` is the best to whoever doesn't know how long a job is."""
        return Speed.QUALITY if self is Speed.AUTO else self


class Scheduler(StrEnum):
    """Samplers; none of them draws random noise, so that a frame depends on its seed alone."""

    DDIM = "ddim"
    """Song et al. 2021."""
    DPMPP = "dpmpp"
    """DPM-Solver++ (2M), Lu et al. 2022."""
    UNIPC = "unipc"
    """Zhao et al. 2023."""


class Recall(StrEnum):
    """How a model that is shown its last result looks back."""

    REFERENCE = "reference"
    """As the published code does, half a pixel off; every frame has its own noise."""
    TRUSTED = "trusted"
    """Only as far as the motion is trusted, and bicubic elsewhere; the noise moves along."""


class ColorFix(StrEnum):
    """What keeps the source's colours."""

    WAVELET = "wavelet"
    """The low frequencies of the result are replaced by the source's."""
    OFF = "off"


class Compile(StrEnum):
    """Whether the denoiser is compiled before the work."""

    AUTO = "auto"
    """On a GPU, if the job is long enough to repay it."""
    ON = "on"
    OFF = "off"


class Precision(StrEnum):
    """Number formats that a model computes in."""

    AUTO = "auto"
    """The fastest that is exact enough on the device."""
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


LEVEL_STEP = 20
"""By how much a noise level is changed to see a difference."""


@dataclass(frozen=True)
class AutoLevel:
    """A noise level that is estimated from the video."""

    offset: int = 0
    """Added to the estimate."""
    estimate: int | None = None
    """The level that suits `compact`; None as long as nothing was estimated."""

    def __str__(self) -> str:
        return f"auto{self.offset:+d}" if self.offset else "auto"


def parse_level(text: str) -> int | AutoLevel:
    """Parse a noise level: a number, or auto, auto+20, auto-10.

    Raises:
        ValueError: the text is none of these.
    """
    if not text.startswith("auto"):
        return int(text)
    offset = text.removeprefix("auto")
    if offset and offset[0] not in "+-":
        raise ValueError(text)
    return AutoLevel(int(offset or "0"))


def describe_level(level: int | None, estimate: int | None) -> str:
    """Return a noise level in words; empty for a model that knows none.

    Args:
        level: the level.
        estimate: the estimate that it follows from; None if the user chose it.
    """
    if level is None or estimate is None:
        return "" if level is None else str(level)
    return f"{level}, {'estimated' if level == estimate else f'from an estimate of {estimate}'}"


def describe_others(level: int, estimate: int) -> str:
    """Return how a level near one that was estimated is asked for, in words."""
    more, less = (AutoLevel(level - estimate + change) for change in (LEVEL_STEP, -LEVEL_STEP))
    restores_less = f", {less} less" if level > 0 else ""
    return f"--noise-level {more} restores more{restores_less}"


LEVEL = Syntax("LEVEL", "a whole number, auto, or auto and an offset such as auto+20", parse_level)


ESTIMATE = "estimated-noise-level"
"""Name of the level that was estimated in the identity of a job; None stands there if the user chose one."""


@dataclass(frozen=True)
class UpscaleOptions:
    """What decides how a frame looks; None leaves the choice to the model.

    Fields with choices take the plain words as well, and hold members of the enum afterwards.
    """

    model: Annotated[
        str,
        Option(
            "auto, compact, sd-x4, stream-diffvsr, owner/name, ./folder or ./file.",
            Panel.PICTURE,
            short="-m",
            metavar="MODEL",
            is_common=True,
        ),
    ] = "auto"
    prompt: Annotated[
        str, Option("What the picture shows (sd-x4 only).", Panel.PICTURE, is_common=True, is_harmless=True)
    ] = ""
    negative_prompt: Annotated[
        str, Option("What the picture does not show (sd-x4 only).", Panel.PICTURE, is_harmless=True)
    ] = ""
    speed: Annotated[
        Speed | str,
        Option(
            "Trade quality for time; auto ends within a night on a GPU.",
            Panel.PICTURE,
            is_common=True,
            is_harmless=True,
        ),
    ] = Speed.AUTO
    scheduler: Annotated[
        Scheduler | str | None,
        Option("Sampler of the denoising steps.", Panel.EXPERT, default="the model's", is_harmless=True),
    ] = None
    num_inference_steps: Annotated[
        int | None,
        Option(
            "Denoising steps: more give more texture.",
            Panel.PICTURE,
            flag="steps",
            minimum=1,
            maximum=MAX_STEPS,
            default="set by --speed",
            is_harmless=True,
        ),
    ] = None
    guidance_scale: Annotated[
        float | None,
        Option(
            "Weight of the prompt; 1 is none.",
            Panel.EXPERT,
            minimum=0,
            default="the model's",
            is_harmless=True,
        ),
    ] = None
    guidance_stop: Annotated[
        float | None,
        Option(
            "Share of the steps, counted from the first, that are guided by the prompt.",
            Panel.EXPERT,
            minimum=0,
            maximum=1,
            default="set by --speed",
            is_harmless=True,
        ),
    ] = None
    cache_interval: Annotated[
        int | None,
        Option(
            "Compute deep features in one of so many steps, and reuse them in the others (sd-x4 only).",
            Panel.EXPERT,
            minimum=1,
            default="set by --speed",
            is_harmless=True,
        ),
    ] = None
    noise_level: Annotated[
        int | AutoLevel | str,
        Option(
            "How much to restore: 0 trusts the source, auto estimates.",
            Panel.PICTURE,
            syntax=LEVEL,
            minimum=0,
            is_common=True,
            is_harmless=True,
        ),
    ] = AutoLevel()
    """Without a video to estimate from, auto is the model's default. sd-x4 adds as much noise to the
    low-resolution frame that it sees."""
    texture: Annotated[
        float | None,
        Option(
            "From 0, nearness to the truth, to 1, rich texture (compact only).",
            Panel.PICTURE,
            minimum=0,
            maximum=1,
            default="the model's",
            is_harmless=True,
        ),
    ] = None
    seed: Annotated[int, Option("The same seed gives the same picture.", Panel.PICTURE, is_harmless=True)] = 0
    strength: Annotated[
        float,
        Option(
            "Blend from 0, the bicubic picture, to 1, the model's.",
            Panel.PICTURE,
            minimum=0,
            maximum=1,
            is_harmless=True,
        ),
    ] = 1.0
    color_fix: Annotated[
        ColorFix | str | None,
        Option(
            "Take tone and colour from the source, or leave them as the model makes them.",
            Panel.EXPERT,
            default="the model's",
            is_harmless=True,
        ),
    ] = None
    temporal: Annotated[
        Temporal | str,
        Option(
            "Tie frames: not at all, by their noise, or along the motion.",
            Panel.PICTURE,
            is_common=True,
            is_harmless=True,
        ),
    ] = Temporal.MOVING
    consistency: Annotated[
        float | None,
        Option(
            "How firmly detail follows the motion, from 0 to 1; more is softer.",
            Panel.EXPERT,
            minimum=0,
            maximum=1,
            default="the model's",
            is_harmless=True,
        ),
    ] = None
    recall: Annotated[
        Recall | str | None,
        Option(
            "How to look back at the last result (stream-diffvsr only).",
            Panel.EXPERT,
            default="the model's",
            is_harmless=True,
        ),
    ] = None
    decoder: Annotated[
        str | None,
        Option(
            "What decodes latents (sd-x4 only): tiny, the one of stream-diffvsr, or a folder (./name).",
            Panel.EXPERT,
            metavar="DECODER",
            default="the model's",
        ),
    ] = None
    reuse_threshold: Annotated[
        float,
        Option(
            "Reuse the last result if frames differ by no more than this on average, in 8-bit levels.",
            Panel.EXPERT,
            minimum=0,
            is_harmless=True,
        ),
    ] = 0.0
    tile_size: Annotated[
        int | None,
        Option(
            "Denoise equal, independent tiles with sides of at most so many source pixels.",
            Panel.EXPERT,
            minimum=MIN_TILE_SIZE,
            default="whole frames, if memory allows",
        ),
    ] = None
    device: Annotated[
        str, Option("auto, cpu, cuda, cuda:1 ...", Panel.JOB, metavar="DEVICE", is_common=True)
    ] = "auto"
    dtype: Annotated[Precision | str, Option("Number format that the model computes in.", Panel.EXPERT)] = (
        Precision.AUTO
    )
    compile: Annotated[
        Compile | str,
        Option("Compile the denoiser first; auto does so on a GPU if it repays.", Panel.EXPERT),
    ] = Compile.AUTO
    max_memory: Annotated[
        int | None,
        Option(
            "Memory to use on the device, e.g. 6GB; frames are tiled to fit.",
            Panel.JOB,
            syntax=SIZE,
            default="most of it",
        ),
    ] = None
    """In bytes."""
    ignore_memory: Annotated[
        bool, Option("Start even if the machine has too little memory; --max-memory still holds.", Panel.JOB)
    ] = False

    def __post_init__(self) -> None:
        if isinstance(self.noise_level, str):
            level = options_of(UpscaleOptions)["noise-level"].parse(self.noise_level)
            object.__setattr__(self, "noise_level", level)
        validate(self)
        for flag, value in (("consistency", self.consistency), ("reuse-threshold", self.reuse_threshold)):
            if self.temporal == Temporal.OFF and value:
                raise OptionError(f"--{flag} needs --temporal fixed or moving.")
        if self.recall is not None and self.temporal != Temporal.MOVING:
            raise OptionError("--recall needs --temporal moving: otherwise, no model looks back.")
