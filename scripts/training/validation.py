"""Validate the averaged weights on sequences that were made, of photographs held out from training."""

from collections.abc import Sequence as Items
from typing import Any

import torch
from torch import Tensor

from scripts.evaluate.metrics import Lpips, psnr_y
from scripts.training.pool import Pool
from scripts.training.sequences import NUM_FRAMES, Sequence
from scripts.training.stream import Frame
from scripts.training.trainer import LAST, Past, Trainer

NUM_SEQUENCES = 32
"""Number of sequences of each kind."""

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
        for kind, sequences in self._sequences.items():
            pairs = self._enlarged(trainer, sequences, texture=0.0)
            textured = self._enlarged(trainer, sequences, texture=1.0)[-1]
            scores |= {
                f"{kind}_first": _psnr(*pairs[0]),
                f"{kind}_last": _psnr(*pairs[-1]),
                f"{kind}_texture": _psnr(*textured),
                f"{kind}_lpips": float(self._lpips(*(each / 2 + 0.5 for each in textured)).mean()),
            }
        return scores

    def _enlarged(
        self, trainer: Trainer, sequences: list[tuple[Sequence, int]], texture: float
    ) -> list[tuple[Tensor, Tensor]]:
        """Return the results and the truths of each frame."""
        levels = torch.tensor([level for _, level in sequences], device=trainer.device)
        textures = torch.full_like(levels, texture, dtype=torch.float32)
        past, pairs = None, []
        for index in range(NUM_FRAMES):
            frame = _frame(sequences, index, trainer.device)
            past = _enlarged(trainer, frame, past, levels, textures)
            pairs.append((past.results, frame.truth))
        return pairs


def mean_score(scores: Scores) -> float:
    """Return what the best weights have most of: PSNR-Y in dB, less LPIPS, of which 0.01 counts as 0.2 dB."""
    near = [value for name, value in scores.items() if name.endswith(("_first", "_last"))]
    alike = [value for name, value in scores.items() if name.endswith("_lpips")]
    return sum(near) / len(near) - 20 * sum(alike) / len(alike)


def _frame(sequences: list[tuple[Sequence, int]], index: int, device: torch.device) -> Frame:
    def stacked(name: str, *place: int) -> Tensor:
        return torch.stack([getattr(each, name)[index, *place] for each, _ in sequences]).to(device).float()

    truth, low_res = (stacked(name) / 127.5 - 1 for name in ("truth", "low_res"))
    return Frame(truth, low_res, stacked("flow", 0), stacked("trust", 0)[:, None] / 255)


def _enlarged(trainer: Trainer, frame: Frame, past: Past | None, levels: Tensor, textures: Tensor) -> Past:
    conditions = torch.cat([frame.low_res, trainer.remembered(past, frame)], dim=1)
    network: Any = trainer.average
    last = torch.full_like(levels, LAST)
    with torch.autocast(trainer.device.type, torch.bfloat16):
        predicted, hidden = network(conditions, last, class_labels=levels, texture=textures)
    return Past(trainer.decode(predicted.float(), frame.low_res), hidden)


def _psnr(results: Tensor, truths: Tensor) -> float:
    rounded = ((results + 1) * 127.5).round() / 255
    scores = [psnr_y(a[None], b[None] / 2 + 0.5) for a, b in zip(rounded, truths, strict=True)]
    return sum(scores) / len(scores)
