"""Schedulers, which take latents from one step to the next: made by name from a model's own schedule."""

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
"""Number of steps below which a schedule has to begin with pure noise (Lin et al. 2024, section 3.3)."""


def make_scheduler(base: Any, name: str | None, num_inference_steps: int) -> Any:
    """Return a new scheduler for a run.

    Args:
        base: the model's scheduler.
        name: a value of `Scheduler`; None for one like the model's.
        num_inference_steps: the number of steps of the run.
    """
    # Leading spacing never reaches the last timestep: of 4 steps, the first would expect latents that still
    # hold 0.19 of the picture, while they begin with none.
    spacing = TRAILING if num_inference_steps < FEW_STEPS else {}
    if name is None:
        return type(base).from_config(base.config, **spacing)
    cls, settings = SCHEDULERS[Scheduler(name)]
    return cls.from_config(base.config, **settings | spacing)  # type: ignore[attr-defined]


def is_deterministic(scheduler: Any) -> bool:
    """Return whether a scheduler draws no noise, so that a frame's results can be tied to another's."""
    return any(isinstance(scheduler, cls) for cls, _ in SCHEDULERS.values())
