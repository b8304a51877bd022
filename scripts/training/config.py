"""Settings of a training run, read from a recipe."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Config:
    """Settings of one stage of training; a checkpoint with others is refused."""

    num_steps: int
    """Steps of the stage: the length of the learning rate's cosine."""
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
    """Side of the frames in training, in low-resolution pixels."""
    num_frames: int = 5
    """Frames of a sequence."""
    pool_size: int = 12000
    """Number of sequences; they are seen again and again, rotated and mirrored."""
    pool_seed: int = 0
    clean_share: float = 0.6
    """Share of the sequences at noise level 0."""

    alone_share: float = 0.25
    """Share of the sequences whose frames have no past, like still pictures."""

    texture_share: float = 0.5
    """Share of each batch trained at timesteps before the last, where the latents hold information."""
    rollout_share: float = 0.0
    """Share of those whose latents come from the network's own earlier steps, as in use."""
    perceptual_weight: float = 0.0
    """Weight of LPIPS at timesteps before the last."""
    first_perceptual_weight: float = 0.0
    """Weight of LPIPS at the last timestep, the first step: crisper, and a little farther from the truth."""
    adversarial_weight: float = 0.0
    temporal_weight: float = 0.0

    @classmethod
    def read(cls, recipe: Path) -> Self:
        """Read a recipe (TOML); its keys are the fields' names."""
        return cls(**tomllib.loads(recipe.read_text()))
