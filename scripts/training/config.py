"""What a training run depends on, read from a recipe."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Config:
    """One stage of training; a checkpoint of another is refused."""

    num_steps: int
    """Length of the learning rate's cosine."""
    seed: int = 0
    width: int = 48
    """Channels of the network at low resolution."""
    num_blocks: int = 5
    max_noise_level: int = 150

    batch_size: int = 16
    learning_rate: float = 4e-4
    warmup: int = 200
    ema_decay: float = 0.999

    side: int = 48
    """Of what the network sees in training, in low-resolution pixels."""
    num_frames: int = 5
    """Of each sequence."""
    pool_size: int = 12000
    """Sequences that are made, and seen again and again, turned and mirrored."""
    pool_seed: int = 0
    clean_share: float = 0.6
    """Share of the sequences at noise level 0."""

    alone_share: float = 0.25
    """Share of the sequences in which each frame stands alone, as a still picture does."""

    texture_share: float = 0.5
    """Share of each batch trained at other timesteps than the last, where the latents tell something."""
    rollout_share: float = 0.0
    """Share of those whose latents come from the network's own first step, as when it is used."""
    perceptual_weight: float = 0.0
    """Of LPIPS at other timesteps than the last."""
    first_perceptual_weight: float = 0.0
    """Of LPIPS at the last, so in the first step: crisper, and a little farther from the truth."""
    adversarial_weight: float = 0.0
    temporal_weight: float = 0.0

    @classmethod
    def read(cls, recipe: Path) -> Self:
        """Read a recipe (TOML); its keys are the fields' names."""
        return cls(**tomllib.loads(recipe.read_text()))
