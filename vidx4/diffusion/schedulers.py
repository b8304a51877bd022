"""What takes latents from one step to the next: chosen by name, made from a model's own schedule."""

from typing import Any

from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler

from vidx4.errors import OptionError

TRAILING = {"timestep_spacing": "trailing"}
SCHEDULERS: dict[str, tuple[type, dict[str, Any]]] = {
    "ddim": (DDIMScheduler, {}),
    "dpmpp": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", "solver_order": 2, **TRAILING}),
    "unipc": (UniPCMultistepScheduler, {"solver_order": 2, **TRAILING}),
}
"""By the names of the option: DDIM (Song et al. 2021), DPM-Solver++ (2M) (Lu et al. 2022), UniPC (Zhao et al.
2023). None of them draws noise of its own."""

FEW_STEPS = 15
"""Below so many, a schedule has to begin where nothing is left of the picture (Lin et al. 2024, section 3.3):
from the usual first of 4 steps, 0.19 of it would be."""


def make_scheduler(base: Any, name: str | None, num_inference_steps: int) -> Any:
    """Return a scheduler of its own for a run.

    Args:
        base: the model's scheduler.
        name: a key of `SCHEDULERS`; None for one like the model's.
        num_inference_steps: that will be asked of it.

    Raises:
        OptionError: there is no such scheduler.
    """
    spacing = TRAILING if num_inference_steps < FEW_STEPS else {}
    if name is None:
        return type(base).from_config(base.config, **spacing)
    if name not in SCHEDULERS:
        raise OptionError(f"There is no scheduler {name!r}: choose {', '.join(SCHEDULERS)}.")
    cls, settings = SCHEDULERS[name]
    return cls.from_config(base.config, **settings | spacing)  # type: ignore[attr-defined]


def is_deterministic(scheduler: Any) -> bool:
    """Whether a scheduler draws no noise, so that results can be tied to those of another frame."""
    return any(isinstance(scheduler, cls) for cls, _ in SCHEDULERS.values())
