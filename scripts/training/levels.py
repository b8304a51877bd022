"""Fit the head that estimates the noise level of a picture, once the rest of the network is trained.

    python -m scripts.training.levels MODEL --pool POOL --held-out HELD_OUT

The target for a sequence is the level, of those tried, at which its frames come nearest to the truth; the
level that it was made at doesn't matter. The head sees early features of single frames, computed with an
unknown level. Over-estimates of clean frames weigh double. `MODEL/levels.json` records how good it is.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scripts.training.pool import Pool
from scripts.training.recurrence import restored
from scripts.training.sequences import CLEAN, Sequence
from vidx4.diffusion.device import keep_host_memory
from vidx4.diffusion.models.compact_denoiser import CompactDenoiser

KINDS = CLEAN, "camera", "dvd", "vhs", "web", "film"
LEVELS = 0, 10, 25, 40, 55, 75, 100, 125, 150
"""Levels that are tried."""
NUM_FRAMES = 3
"""Frames of a sequence that are restored to compare levels; the first has no past."""
BATCH_SIZE = 16
NUM_STEPS = 3000


class Samples(NamedTuple):
    """Sequences of one kind."""

    statistics: Tensor
    """Statistics of the early features of frames, (N, 128)."""
    errors: Tensor
    """Mean squared error by level tried, (N, L)."""

    @property
    def best(self) -> Tensor:
        """The best level tried of each, (N,)."""
        return torch.tensor(LEVELS, dtype=torch.float32)[self.errors.argmin(dim=1)]

    def loss_at(self, levels: Tensor) -> Tensor:
        """Return the loss in dB against the best level tried, interpolated between those tried, (N,)."""
        decibels = -10 * self.errors.log10().numpy()
        rows = zip(levels.tolist(), decibels, strict=True)
        reached = [float(np.interp(level, LEVELS, row)) for level, row in rows]
        return torch.from_numpy(decibels.max(axis=1)) - torch.tensor(reached)


@torch.inference_mode()
def samples_of(model: CompactDenoiser, sequences: list[Sequence]) -> Samples:
    """Measure sequences of one kind."""
    low_res = torch.stack([each.low_res[0] for each in sequences]).float() / 127.5 - 1
    errors = torch.stack([_errors(model, sequences, level) for level in LEVELS], dim=1)
    return Samples(model.early_statistics(low_res), errors)


def _errors(model: CompactDenoiser, sequences: list[Sequence], level: float) -> Tensor:
    """Return the mean squared error of the last frames, in [-1, 1], (N,)."""
    levels = torch.full((len(sequences),), float(level))
    *_, (results, truths) = restored(model, sequences, levels, torch.zeros_like(levels), NUM_FRAMES)
    return (results - truths).square().mean(dim=(1, 2, 3))


def measure(model: CompactDenoiser, pool: Pool, num_sequences: int) -> dict[str, Samples]:
    """Measure as many sequences of every kind."""
    return {kind: _measured(model, pool, kind, num_sequences) for kind in KINDS}


def _measured(model: CompactDenoiser, pool: Pool, kind: str, num_sequences: int) -> Samples:
    batches = [
        samples_of(model, [pool.sequence(kind, number)[0] for number in range(start, start + BATCH_SIZE)])
        for start in range(0, num_sequences, BATCH_SIZE)
    ]
    return Samples(*(torch.cat(fields) for fields in zip(*batches, strict=True)))


def fit(model: CompactDenoiser, samples: dict[str, Samples]) -> None:
    """Fit the head of a network to samples, with all other weights as they are."""
    statistics, targets = (
        torch.cat([getattr(each, name) for each in samples.values()]) for name in ("statistics", "best")
    )
    is_clean = torch.cat([torch.full((len(each.best),), kind == CLEAN) for kind, each in samples.items()])
    mean, deviation = statistics.mean(0), statistics.std(0) + 1e-4
    head = torch.nn.Sequential(*(_reset(layer) for layer in model.level_head))
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, NUM_STEPS)
    generator = torch.Generator().manual_seed(0)
    for _ in range(NUM_STEPS):
        chosen = torch.randint(len(targets), (256,), generator=generator)
        estimates = _estimate(head, (statistics[chosen] - mean) / deviation, model)
        errors = F.huber_loss(estimates, targets[chosen], reduction="none", delta=15.0)
        is_over = is_clean[chosen] & (estimates > targets[chosen])
        optimizer.zero_grad()
        (errors * (1 + is_over)).mean().backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():  # the normalisation becomes part of the first layer
        first = cast(torch.nn.Linear, head[0])
        first.bias -= first.weight @ (mean / deviation)
        first.weight /= deviation


def _reset(layer: torch.nn.Module) -> torch.nn.Module:
    if isinstance(layer, torch.nn.Linear):
        layer.reset_parameters()
    return layer


def _estimate(head: torch.nn.Module, statistics: Tensor, model: CompactDenoiser) -> Tensor:
    return cast(Tensor, model.config.max_noise_level * head(statistics).squeeze(1).sigmoid())


def score(model: CompactDenoiser, samples: dict[str, Samples]) -> dict[str, float]:
    """Return how good the estimates are on held-out sequences."""
    with torch.inference_mode():
        estimates = {
            kind: _estimate(model.level_head, each.statistics, model) for kind, each in samples.items()
        }
    errors = {kind: (estimates[kind] - each.best).abs().mean() for kind, each in samples.items()}
    losses = {kind: each.loss_at(estimates[kind]) for kind, each in samples.items()}
    return {
        "mae": float(torch.stack(list(errors.values())).mean()),
        "clean_p90": float(estimates[CLEAN].quantile(0.9)),
        "loss_db": float(torch.cat(list(losses.values())).mean()),
        **{f"{kind}_mae": float(error) for kind, error in errors.items()},
        **{f"{kind}_loss_db": float(loss.mean()) for kind, loss in losses.items()},
        **{f"{kind}_best": float(each.best.mean()) for kind, each in samples.items()},
        **{f"loss_db_at_{level}": _mean_loss(samples, level) for level in (0, 25, 40, 75)},
    }


def _mean_loss(samples: dict[str, Samples], level: float) -> float:
    """Return the mean loss in dB of one level for all."""
    losses = [each.loss_at(torch.full((len(each.errors),), level)) for each in samples.values()]
    return float(torch.cat(losses).mean())


def main() -> None:
    """Fit the head of a model, write it back, and record how good it is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, help="a model folder")
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--sequences", type=int, default=512, help="of each kind, to fit to")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_host_memory()
    torch.manual_seed(0)
    model = CompactDenoiser.from_pretrained(arguments.model / "unet").float().eval()
    fit(model, measure(model, Pool(arguments.pool), arguments.sequences))
    scores = score(model, measure(model, Pool(arguments.held_out), 64))
    model.half().save_pretrained(arguments.model / "unet")
    (arguments.model / "levels.json").write_text(json.dumps(scores, indent=2) + "\n")
    print(json.dumps(scores, indent=2))


if __name__ == "__main__":
    main()
