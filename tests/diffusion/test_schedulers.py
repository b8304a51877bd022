"""Schedulers give what those of diffusers give."""

from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vidx4.diffusion.options import Scheduler
from vidx4.diffusion.schedulers import HostUniPC, is_deterministic, make_scheduler, most_steps

BETAS = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "scaled_linear"}


def samples(scheduler: Any, num_steps: int) -> list[Tensor]:
    """Return the samples after each step, for outputs of a model that follow the sample."""
    generator = torch.Generator().manual_seed(3)
    sample, found = torch.randn(2, 4, 5, 7, generator=generator), []
    scheduler.set_timesteps(num_steps)
    for t in scheduler.timesteps:
        output = 0.7 * sample.sin() + 0.1 * torch.randn(sample.shape, generator=generator)
        sample = scheduler.step(output, t, sample, return_dict=False)[0]
        found.append(sample)
    return found


@pytest.mark.parametrize("prediction_type", ["v_prediction", "epsilon", "sample"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("num_steps", [1, 2, 4, 20])
def test_unipc_is_that_of_diffusers(prediction_type: str, order: int, num_steps: int) -> None:
    config = {**BETAS, "prediction_type": prediction_type, "solver_order": order}
    expected = samples(UniPCMultistepScheduler(**config), num_steps)
    actual = samples(HostUniPC(**config), num_steps)
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_model_with_a_unipc_of_its_own_gets_the_one_that_does_not_wait() -> None:
    base = UniPCMultistepScheduler(**BETAS)
    assert is_deterministic(base)
    assert isinstance(make_scheduler(base, None, 4), HostUniPC)
    assert isinstance(make_scheduler(base, Scheduler.UNIPC, 4), HostUniPC)


class Waits(TorchDispatchMode):
    """Counts the operations at which the CPU waits for a device: copies to and from it, and solvers on it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        devices = {each.device.type for each in tree_leaves((args, result)) if isinstance(each, Tensor)}
        name = func.overloadpacket.__name__
        is_copy = name in ("_to_copy", "copy_") and len(devices) > 1
        if is_copy or ("meta" in devices and name in ("_local_scalar_dense", "_linalg_solve_ex")):
            self.found.append(name)
        return result


@pytest.mark.parametrize("name", Scheduler)
def test_no_scheduler_waits_for_the_device(name: Scheduler) -> None:
    scheduler = make_scheduler(UniPCMultistepScheduler(**BETAS), name, 4)
    sample = torch.empty(2, 4, 5, 7, device="meta")
    with Waits() as waits:
        scheduler.set_timesteps(4)
        for t in scheduler.timesteps:
            sample = scheduler.step(torch.empty_like(sample), t, sample, return_dict=False)[0]
    assert not waits.found


@pytest.mark.parametrize("name", [None, *Scheduler])
@pytest.mark.parametrize(
    "kind", [DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler, UniPCMultistepScheduler]
)
def test_a_schedule_is_no_longer_than_it_was_trained(kind: Any, name: str | None) -> None:
    base = kind(**BETAS, num_train_timesteps=20, steps_offset=1, timestep_spacing="leading")
    most = most_steps(base, name, 30)
    assert 18 <= most <= 20
    found = samples(make_scheduler(base, name, most), most)
    assert all(bool(each.isfinite().all()) for each in found)
    assert most_steps(base, name, 4) == 4
