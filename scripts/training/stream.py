"""Batches in which every slot continues its own sequence, frame by frame."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from scripts.training.config import Config
from scripts.training.sequences import Frame, Pool

NUM_TIMESTEPS = 1000
ROLLOUTS = {2: 0.35, 3: 0.2, 4: 0.35, 8: 0.1}
"""Share of rollouts by their number of steps."""
LAST_STEP_SHARE = 0.6
"""Share of rollouts that are trained at their last step; the others at any but the first and last."""
LATENT_CHANNELS = 48


@dataclass(frozen=True)
class Batch:
    """Input of one step of training, slot by slot."""

    truth: Tensor
    """Frames at full resolution, RGB, uint8, (N, 3, 4H, 4W)."""
    previous_truth: Tensor
    """The frames before, like `truth`."""
    low_res: Tensor
    """Frames at low resolution, RGB, uint8, (N, 3, H, W)."""
    flow: Tensor
    """Offsets to the frame before, x then y, (N, 2, H, W)."""
    trust: Tensor
    """Trust in the motion, (N, 1, H, W); 0 in the first frame of a sequence."""
    level: Tensor
    """Noise levels, (N,)."""
    timestep: Tensor
    """Timesteps, (N,)."""
    is_rollout: Tensor
    """Whether the latents come from the network's own earlier steps, bool, (N,)."""
    rollout: "Rollout"
    noise: Tensor
    """Standard normal noise, (N, 48, H, W); zeros at the last timestep."""

    def to(self, device: torch.device) -> "Batch":
        return self._each(lambda field: field.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        fields: dict[str, Any] = vars(self)
        tensors = {name: change(field) for name, field in fields.items() if isinstance(field, Tensor)}
        return Batch(**fields | tensors)


@dataclass(frozen=True)
class Rollout:
    """Steps that the network takes by itself, as in use, before a step is trained."""

    num_steps: int
    """Number of inference steps."""
    index: int
    """Index of the step that is trained, from 1."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """Draw a rollout at random."""
        num_steps = int(rng.choice(list(ROLLOUTS), p=list(ROLLOUTS.values())))
        is_last = rng.random() < LAST_STEP_SHARE
        return cls(num_steps, num_steps - 1 if is_last else int(rng.integers(1, num_steps)))

    @property
    def timestep(self) -> int:
        """Timestep of the step that is trained, as the scheduler spaces them."""
        return round(NUM_TIMESTEPS * (1 - self.index / self.num_steps)) - 1


class Stream(Dataset[Batch]):
    """Batches by step; each is a function of the seed and the step.

    Slot s shows frame (step + s) modulo T of its sequence, so that a batch has frames from all over their
    sequences, and the result of a slot's last frame is the past of its next.
    """

    def __init__(self, pool: Pool, config: Config) -> None:
        self._pool = pool
        self._config = config

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng((self._config.seed, step))
        slots = [self._slot(step, slot) for slot in range(self._config.batch_size)]
        frames = [slot.frame for slot in slots]
        textures = [slot.is_texture for slot in slots]
        rollouts = [each and rng.random() < self._config.rollout_share for each in textures]
        rollout = Rollout.draw(rng)
        timesteps = [
            rollout.timestep if own else int(rng.integers(NUM_TIMESTEPS - 1)) if each else NUM_TIMESTEPS - 1
            for each, own in zip(textures, rollouts, strict=True)
        ]
        side, size = self._config.side, len(slots)
        noise = np.zeros((size, LATENT_CHANNELS, side, side), np.float32)
        noise[textures] = rng.standard_normal((sum(textures), *noise.shape[1:]), np.float32)
        return Batch(
            truth=torch.stack([frame.truth for frame in frames]),
            previous_truth=torch.stack([frame.previous_truth for frame in frames]),
            low_res=torch.stack([frame.low_res for frame in frames]),
            flow=torch.stack([frame.flow for frame in frames]).float(),
            trust=torch.stack([frame.trust for frame in frames]).float()[:, None],
            level=torch.tensor([slot.level for slot in slots]),
            timestep=torch.tensor(timesteps),
            is_rollout=torch.tensor(rollouts),
            rollout=rollout,
            noise=torch.from_numpy(noise),
        )

    def _slot(self, step: int, slot: int) -> "_Slot":
        config = self._config
        turn, index = divmod(step + slot, config.num_frames)
        rng = np.random.default_rng((config.seed, slot, turn))
        number = int(rng.integers(config.pool_size))
        frame = self._pool.frame(number, index).turned(int(rng.integers(8)))
        is_texture = bool(rng.random() < config.texture_share)
        if rng.random() < config.alone_share:
            frame = replace(frame, trust=torch.zeros_like(frame.trust))
        return _Slot(frame, self._pool.level(number), is_texture)


@dataclass(frozen=True)
class _Slot:
    frame: Frame
    level: int
    is_texture: bool
