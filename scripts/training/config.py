"""Settings of a training run, read from a recipe."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Config:
    """Settings of one stage of training; a checkpoint with others is refused."""

    num_steps: int
    """Steps of the stage: the length of the learning rate's schedule."""
    seed: int = 0
    width: int = 64
    """Channels of the network at low resolution."""
    num_blocks: int = 10
    max_noise_level: int = 150
    branch_width: int = 64
    """Channels in the middle of the branch that is merged into every convolution of a block; 0 for none."""
    kernel_rate: float = 0.0
    """Learning rate of Muon for the kernels of the blocks; 0 to train them by AdamW, as all else."""

    batch_size: int = 8
    """Sequences of a step, in each process."""
    steps_per_update: int = 1
    """Steps whose gradients are averaged before the weights change."""
    learning_rate: float = 4e-4
    warmup: int = 200
    """Steps in which the learning rate rises."""
    decay_share: float = 0.15
    """Share of the steps, the last ones, in which it falls to nothing."""
    ema_decay: float = 0.999

    kinds: Mapping[str, float] = field(default_factory=lambda: {"clean": 1.0})
    """Share of the sequences by the kind of their damage."""
    num_passes: int = 3
    """How often a sequence is played, back and forth, before the next takes its place; memory is kept."""
    alone_share: float = 0.15
    """Share of the sequences whose frames have no past, like still pictures."""
    unknown_share: float = 0.15
    """Share of the sequences whose noise level the network is not told."""
    level_jitter: float = 6.0
    """Standard deviation of the error in the noise levels that it is told."""

    later_share: float = 0.125
    """Share of the sequences that are also trained at timesteps before the last."""
    own_share: float = 0.5
    """Share of those whose latents come from the network's own first step, as in use, not from the truth."""

    texture_share: float = 0.5
    """Share of the sequences that want texture, from 0 to 1; the others want nearness to the truth alone."""
    textured_nearness: float = 1.0
    """Weight of nearness to the truth where all texture is wanted, where it is 1 otherwise."""
    judged_every: int = 2
    """Steps from one in which texture is judged to the next; one frame of each sequence is."""
    judged_side: int = 160
    """Side in pixels of the part of it that is judged."""
    perceptual_weight: float = 1.0
    """Weight of LPIPS where all texture is wanted."""
    feature_weight: float = 0.0
    """Weight of the distance of features of VGG-16, likewise."""
    adversarial_weight: float = 0.1
    flat_weight: float = 0.0
    """Weight of the noise in excess of the truth's on flat areas, whatever the texture that is wanted."""
    temporal_weight: float = 1.0
    """Weight of the error of the change from the last result."""
    teacher_weight: float = 0.0
    """Weight of the distance from SPAN's results on clean frames, where nothing is remembered."""
    squared: bool = False
    """Whether squared errors are minimised, which is what PSNR measures, in place of absolute ones."""

    @classmethod
    def read(cls, recipe: Path) -> Self:
        """Read a recipe (TOML); its keys are the fields' names.

        Raises:
            SystemExit: it gives Muon kernels that have branches.
        """
        config = cls(**tomllib.loads(recipe.read_text(encoding="utf-8")))
        if config.kernel_rate and config.branch_width:
            raise SystemExit(f"{recipe}: kernel_rate needs branch_width = 0")
        return config
