"""Batches of sequences, each of which is played back and forth a few times."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from scripts.training.config import Config
from scripts.training.pool import Pool
from scripts.training.sequences import CLEAN, NUM_FRAMES, Sequence
from vidx4.diffusion.models.networks.compact_denoiser import LATENT_CHANNELS, UNKNOWN_LEVEL

NUM_TIMESTEPS = 1000


class Frame(NamedTuple):
    """One frame of each sequence of a batch, on the device; pixels are in [-1, 1]."""

    truth: Tensor
    """Frames at full resolution, (N, 3, 4H, 4W)."""
    low_res: Tensor
    """Frames at low resolution, (N, 3, H, W)."""
    flow: Tensor
    """Offsets to the frame that was shown before, x then y, (N, 2, H, W)."""
    trust: Tensor
    """Trust in them, 0 to 1, (N, 1, H, W)."""


@dataclass(frozen=True)
class Batch:
    """Input of one step of training."""

    truth: Tensor
    """Frames at full resolution, RGB, uint8, (T, N, 3, 4H, 4W)."""
    low_res: Tensor
    """Frames at low resolution, RGB, uint8, (T, N, 3, H, W)."""
    flow: Tensor
    """Offsets to the frame that was shown before, x then y, float16, (T, N, 2, H, W)."""
    trust: Tensor
    """Trust in them, 0 to 255, uint8, (T, N, 1, H, W); 0 in a frame without a past."""
    level: Tensor
    """Noise levels that the network is told, (N,)."""
    is_clean: Tensor
    """Whether a sequence is not damaged, bool, (N,)."""
    texture: Tensor
    """How much texture is wanted, 0 to 1, (N,)."""
    judged: Tensor
    """Index of the frame that texture is judged by, not the first, a scalar."""
    later: Tensor
    """Sequences that are also trained at a later timestep, (M,)."""
    timestep: Tensor
    """Timesteps before the last, of each frame of these, (T, M)."""
    is_own: Tensor
    """Whether their latents come from the network's own first step, bool, (T, M)."""
    noise: Tensor
    """Standard normal noise in their latents, (T, M, 48, H, W)."""

    def frame(self, index: int) -> Frame:
        """Return a frame of each sequence."""
        truth, low_res = (field[index].float() / 127.5 - 1 for field in (self.truth, self.low_res))
        return Frame(truth, low_res, self.flow[index].float(), self.trust[index].float() / 255)

    def to(self, device: torch.device) -> Self:
        """Move the batch to a device."""
        return self._each(lambda field: field.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """Return the batch in memory that a GPU can read by itself."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        return type(self)(**{field.name: change(getattr(self, field.name)) for field in fields(self)})


class Stream(Dataset[Batch]):
    """Batches by step; each is a function of the seed, the process and the step.

    Slot s shows pass (step + s) modulo the number of passes of its sequence, so that a batch has old and new
    sequences. Every second pass is played backwards, and begins with the frame that the last one ended with.

    Args:
        pool: sequences to train on.
        config: settings of the run.
        process: number of this process; each sees other sequences.
    """

    def __init__(self, pool: Pool, config: Config, process: int = 0) -> None:
        self._pool = pool
        self._config = config
        self._process = process
        self._lengths = pool.lengths(list(config.kinds))

    def __getitem__(self, step: int) -> Batch:
        config = self._config
        rng = np.random.default_rng((config.seed, self._process, step))
        slots = [self._slot(step, slot) for slot in range(config.batch_size)]
        shown = [slot.shown for slot in slots]
        low_res = torch.stack([each.low_res for each in shown], dim=1)
        num_later = self._num_later(step)
        shape = NUM_FRAMES, num_later
        noise = rng.standard_normal((*shape, LATENT_CHANNELS, *low_res.shape[-2:]), np.float32)
        return Batch(
            truth=torch.stack([each.truth for each in shown], dim=1),
            low_res=low_res,
            flow=torch.stack([each.flow[:, 0] for each in shown], dim=1),
            trust=torch.stack([each.trust[:, :1] for each in shown], dim=1),
            level=torch.tensor([slot.level for slot in slots]),
            is_clean=torch.tensor([slot.is_clean for slot in slots]),
            texture=torch.tensor([slot.texture for slot in slots]),
            judged=torch.tensor(int(rng.integers(1, NUM_FRAMES))),
            later=torch.from_numpy(rng.choice(config.batch_size, num_later, replace=False)),
            timestep=torch.from_numpy(rng.integers(NUM_TIMESTEPS - 1, size=shape)),
            is_own=torch.from_numpy(rng.random(shape) < config.own_share),
            noise=torch.from_numpy(noise),
        )

    def _num_later(self, step: int) -> int:
        """Return how many sequences of a step are trained at a later timestep, the same in every process."""
        wanted = self._config.later_share * self._config.batch_size
        return math.floor(wanted * (step + 1)) - math.floor(wanted * step)

    def _slot(self, step: int, slot: int) -> "_Slot":
        config = self._config
        turn, index = divmod(step + slot, config.num_passes)
        rng = np.random.default_rng((config.seed, self._process, slot, turn))
        kind = str(rng.choice(list(config.kinds), p=_shares(config)))
        sequence, level = self._pool.sequence(kind, int(rng.integers(self._lengths[kind])))
        sequence = sequence.turned(int(rng.integers(8)))
        if rng.random() < 0.5:
            sequence = sequence.reversed()
        told = self._told(kind, level, rng)
        is_alone = rng.random() < config.alone_share
        # As many in every batch, so that processes that train together do the same.
        wants_texture = slot < round(config.texture_share * config.batch_size)
        texture = 1 - rng.random() ** 2 if wants_texture else 0.0
        shown = _played(sequence, index, is_alone)
        if is_alone and kind == CLEAN:
            shown = self._stills(np.random.default_rng((config.seed, self._process, slot, turn, index)))
        return _Slot(shown, told, kind == CLEAN, texture)

    def _stills(self, rng: np.random.Generator) -> Sequence:
        """Return clean pictures that have nothing to do with each other, as frames without a past."""
        numbers = rng.integers(self._lengths[CLEAN], size=NUM_FRAMES)
        sources = [
            self._pool.sequence(CLEAN, int(number))[0].turned(int(rng.integers(8))) for number in numbers
        ]
        frames = [vars(source) for source in sources]
        mixed = {
            name: torch.stack([frame[name][index] for index, frame in enumerate(frames)])
            for name in frames[0]
        }
        return _played(Sequence(**mixed), 0, is_alone=True)

    def _told(self, kind: str, level: int, rng: np.random.Generator) -> float:
        """Return the noise level that the network is told: nearly the true one, or nothing."""
        config = self._config
        if rng.random() < config.unknown_share:
            return UNKNOWN_LEVEL
        error = float(config.level_jitter * rng.standard_normal())
        if kind == CLEAN:  # most often exactly 0, else what an estimate would be
            return abs(error) if rng.random() < 0.25 else 0.0
        return float(np.clip(level + error, 1, config.max_noise_level))


class _Slot(NamedTuple):
    shown: Sequence
    level: float
    is_clean: bool
    texture: float


def _shares(config: Config) -> np.ndarray:
    shares = np.array(list(config.kinds.values()))
    normalised: np.ndarray = shares / shares.sum()
    return normalised


def _played(sequence: Sequence, index: int, is_alone: bool) -> Sequence:
    """Return a pass over a sequence, with the trust in the past that each frame has."""
    if index % 2:
        sequence = sequence.reversed()
    trust = sequence.trust.clone()
    if is_alone:
        trust.zero_()
    elif index > 0:
        trust[0] = 255  # the frame that the last pass ended with, shown again: its flow is 0
    return Sequence(sequence.truth, sequence.low_res, sequence.flow, trust)
