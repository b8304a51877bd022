"""Validate the averaged weights on sequences that were made, of photographs held out from training."""

from collections.abc import Sequence as Items

import torch
from torch import Tensor

from scripts.evaluate.metrics import Lpips, psnr_y
from scripts.training.pool import Pool
from scripts.training.recurrence import restored
from scripts.training.sequences import NUM_FRAMES, Sequence
from scripts.training.trainer import Trainer

NUM_SEQUENCES = 32
"""Number of sequences of each kind."""

LPIPS_DECIBELS = 20.0
"""PSNR in dB that counts as much as an LPIPS of 1: 0.2 dB for 0.01."""

Scores = dict[str, float]


class Validation:
    """Scores of a trainer's averaged weights in one step.

    PSNR-Y in dB of the first frames, which have no past, and of the last; and, where all texture is wanted,
    PSNR-Y and LPIPS of the last frames.

    Args:
        pool: sequences held out, of all kinds.
        kinds: the kinds to score.
        lpips: the perceptual metric.
        num_sequences: number of sequences of each kind.
    """

    def __init__(
        self, pool: Pool, kinds: Items[str], lpips: Lpips, num_sequences: int = NUM_SEQUENCES
    ) -> None:
        self._lpips = lpips
        pool.lengths(kinds)
        self._sequences = {
            kind: [pool.sequence(kind, number) for number in range(num_sequences)] for kind in kinds
        }

    @torch.inference_mode()
    def __call__(self, trainer: Trainer) -> Scores:
        """Score one step on every kind."""
        scores: Scores = {}
        for kind, pairs in self._sequences.items():
            sequences = [sequence for sequence, _ in pairs]
            levels = torch.tensor([level for _, level in pairs], device=trainer.device)
            near = _restored(trainer, sequences, levels, texture=0.0)
            textured = _restored(trainer, sequences, levels, texture=1.0)[-1]
            scores |= {
                f"{kind}_first": float(psnr_of_each(*near[0]).mean()),
                f"{kind}_last": float(psnr_of_each(*near[-1]).mean()),
                f"{kind}_texture": float(psnr_of_each(*textured).mean()),
                f"{kind}_lpips": float(self._lpips(*(each / 2 + 0.5 for each in textured)).mean()),
            }
        return scores


def mean_score(scores: Scores) -> float:
    """Return what the best weights have most of: PSNR-Y in dB, less what LPIPS counts."""
    near = [value for name, value in scores.items() if name.endswith(("_first", "_last"))]
    alike = [value for name, value in scores.items() if name.endswith("_lpips")]
    return sum(near) / len(near) - LPIPS_DECIBELS * sum(alike) / len(alike)


def _restored(
    trainer: Trainer, sequences: list[Sequence], levels: Tensor, texture: float
) -> list[tuple[Tensor, Tensor]]:
    textures = torch.full_like(levels, texture, dtype=torch.float32)
    return list(restored(trainer.average, sequences, levels, textures, NUM_FRAMES))


def psnr_of_each(results: Tensor, truths: Tensor) -> Tensor:
    """Return PSNR-Y of pictures as they are saved, in [-1, 1], (N, 3, 4H, 4W) -> (N,)."""
    rounded = ((results.clamp(-1, 1) + 1) * 127.5).round() / 255
    pairs = zip(rounded, truths / 2 + 0.5, strict=True)
    return torch.tensor([psnr_y(result[None], truth[None]) for result, truth in pairs])
