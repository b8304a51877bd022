"""What takes latents from one step to the next: chosen by name, made from a model's own schedule."""

from typing import Any

from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler

from vidx4.diffusion.options import Scheduler

TRAILING = {"timestep_spacing": "trailing"}
SCHEDULERS: dict[Scheduler, tuple[type, dict[str, Any]]] = {
    Scheduler.DDIM: (DDIMScheduler, {}),
    Scheduler.DPMPP: (
        DPMSolverMultistepScheduler,
        {"algorithm_type": "dpmsolver++", "solver_order": 2, **TRAILING},
    ),
    Scheduler.UNIPC: (UniPCMultistepScheduler, {"solver_order": 2, **TRAILING}),
}

FEW_STEPS = 15
"""Below so many, a schedule has to begin where nothing is left of the picture (Lin et al. 2024, section 3.3):
from the usual first of 4 steps, 0.19 of it would be."""


def make_scheduler(base: Any, name: str | None, num_inference_steps: int) -> Any:
    """Return a scheduler of its own for a run.

    Args:
        base: the model's scheduler.
        name: a value of `Scheduler`; None for one like the model's.
        num_inference_steps: that will be asked of it.
    """
    spacing = TRAILING if num_inference_steps < FEW_STEPS else {}
    if name is None:
        return type(base).from_config(base.config, **spacing)
    cls, settings = SCHEDULERS[Scheduler(name)]
    return cls.from_config(base.config, **settings | spacing)  # type: ignore[attr-defined]


def is_deterministic(scheduler: Any) -> bool:
    """Whether a scheduler draws no noise, so that results can be tied to those of another frame."""
    return any(isinstance(scheduler, cls) for cls, _ in SCHEDULERS.values())
