"""Schedulers, which take latents from one step to the next: made by name from a model's own schedule."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler
from torch import Tensor

from vidx4.diffusion.options import Scheduler


class HostUniPC(UniPCMultistepScheduler):  # type: ignore[misc]
    """UniPC (Zhao et al. 2023) that never makes the CPU wait for a GPU.

    Its updates are linear in the sample and the model's outputs. diffusers computes their weights on the
    device, which waits at each copy there and at the solution of a system of equations. Here, its formulas
    run on unit vectors on the CPU, which gives the weights themselves.
    """

    model_outputs: list[Tensor]

    def multistep_uni_p_bh_update(
        self, model_output: Tensor, *, sample: Tensor, order: int, **_: Any
    ) -> Tensor:
        """Predict the next sample; see diffusers."""
        update = super().multistep_uni_p_bh_update

        def predict(sample: Tensor, *outputs: Tensor) -> Tensor:
            return cast(Tensor, update(outputs[-1], sample=sample, order=order))

        return self._combine([sample, *self.model_outputs[-order:]], predict, order)

    def multistep_uni_c_bh_update(
        self, this_model_output: Tensor, *, last_sample: Tensor, this_sample: Tensor, order: int, **_: Any
    ) -> Tensor:
        """Correct the sample that was predicted last; see diffusers."""
        update = super().multistep_uni_c_bh_update

        def correct(new: Tensor, last: Tensor, *_: Tensor) -> Tensor:
            return cast(Tensor, update(new, last_sample=last, this_sample=last, order=order))

        return self._combine([this_model_output, last_sample, *self.model_outputs[-order:]], correct, order)

    def _combine(self, terms: Sequence[Tensor], update: Callable[..., Tensor], order: int) -> Tensor:
        """Return a linear update of some terms, the last of which are the model's `order` last outputs."""
        unit_vectors = list(torch.eye(len(terms))[:, None])  # each (1, terms)
        outputs, self.model_outputs = self.model_outputs, unit_vectors[-order:]
        try:
            weights = update(*unit_vectors)[0].tolist()
        finally:
            self.model_outputs = outputs
        total: Tensor = weights[0] * terms[0]
        for weight, term in zip(weights[1:], terms[1:], strict=True):
            total.add_(term, alpha=weight)
        return total


TRAILING = {"timestep_spacing": "trailing"}
SCHEDULERS: dict[Scheduler, tuple[type, dict[str, Any]]] = {
    Scheduler.DDIM: (DDIMScheduler, {}),
    Scheduler.DPMPP: (
        DPMSolverMultistepScheduler,
        {"algorithm_type": "dpmsolver++", "solver_order": 2, **TRAILING},
    ),
    Scheduler.UNIPC: (HostUniPC, {"solver_order": 2, **TRAILING}),
}
_DETERMINISTIC = (DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler)
"""Kinds of schedulers that draw no noise."""

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
        kind = HostUniPC if isinstance(base, UniPCMultistepScheduler) else type(base)
        return kind.from_config(base.config, **spacing)
    cls, settings = SCHEDULERS[Scheduler(name)]
    return cls.from_config(base.config, **settings | spacing)  # type: ignore[attr-defined]


def most_steps(base: Any, name: str | None, up_to: int) -> int:
    """Return the greatest number of steps, of at most `up_to`, that a schedule is long enough for; 0 if none.

    Args:
        base: the model's scheduler.
        name: a value of `Scheduler`; None for one like the model's.
        up_to: the number of steps that are wanted.
    """
    return next((number for number in range(up_to, 0, -1) if _lasts(base, name, number)), 0)


def _lasts(base: Any, name: str | None, num_inference_steps: int) -> bool:
    """Return whether a schedule has as many timesteps as a run takes steps, all of them its own."""
    num_timesteps = base.config.num_train_timesteps
    if num_inference_steps > num_timesteps:
        return False
    scheduler = make_scheduler(base, name, num_inference_steps)
    scheduler.set_timesteps(num_inference_steps)
    timesteps = scheduler.timesteps
    # Other kinds repeat timesteps on purpose.
    is_even = not is_deterministic(scheduler) or len(timesteps.unique()) >= num_inference_steps
    # With an offset, leading spacing counts one timestep too far where it leaves none out.
    return is_even and bool(timesteps.max() < num_timesteps)


def is_deterministic(scheduler: Any) -> bool:
    """Return whether a scheduler draws no noise, so that a frame's results can be tied to another's."""
    return isinstance(scheduler, _DETERMINISTIC)
