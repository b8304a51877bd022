"""Fit the head that estimates the noise level of a picture, once the rest of the network is trained.

    python -m scripts.training.pool --photos PHOTOS --pool FILMS --kind KIND --files 1 --side 128 --held-out
    python -m scripts.training.levels MODEL --pool POOL --films FILMS

The head sees features of single frames, computed with an unknown level. Its target for a sequence is the
level that it was damaged by, scaled for each kind of damage so that the mean is that of the best levels, of
those tried: those with the highest score, which is PSNR-Y less LPIPS, as when weights are chosen. PSNR alone
leaves grain on flat areas, for which it has nothing better. Over-estimates of clean frames weigh double.
`MODEL/levels.json` records how good the estimates are, made as the program makes them: of several tiles of
several frames of a film, and rounded.
"""

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scripts.evaluate.metrics import Lpips
from scripts.training.pool import Pool
from scripts.training.recurrence import restored
from scripts.training.sequences import CLEAN, NUM_FRAMES, Sequence
from scripts.training.validation import LPIPS_DECIBELS, psnr_of_each
from vidx4.diffusion.device import keep_host_memory
from vidx4.diffusion.models.networks.compact_denoiser import CompactDenoiser
from vidx4.diffusion.models.noise_level import level_by

KINDS = CLEAN, "camera", "dvd", "vhs", "web", "film"
LEVELS = 0, 15, 30, 50, 75, 100, 125, 150
"""Levels that are tried."""
NUM_FILMS = 32
"""Held-out films of each kind."""
TEXTURE = 0.6
"""Texture that they are tried with: the program's default."""
NUM_RESTORED = 3
"""Frames of a sequence that are restored to compare levels; the first has no past."""
JUDGED = range(0, NUM_FRAMES, 2)
"""Frames that a level is estimated from."""
BATCH_SIZE = 16
NUM_STEPS = 4000


class Tried(NamedTuple):
    """Sequences of one kind, of some of which several levels were tried."""

    levels: Tensor
    """Levels that they were damaged by, (N,)."""
    psnr: Tensor
    """PSNR-Y in dB by level tried, for the first of them, (M, L)."""
    scores: Tensor
    """Their score, likewise."""

    @property
    def best(self) -> Tensor:
        """The best level tried of each of the first, (M,)."""
        return torch.tensor(LEVELS, dtype=torch.float32)[self.scores.argmax(dim=1)]

    @property
    def targets(self) -> Tensor:
        """Levels to estimate, (N,)."""
        made = self.levels[: len(self.scores)].sum()
        return self.levels * (self.best.sum() / made if made else 0.0)


def loss_at(levels: Tensor, decibels: Tensor) -> Tensor:
    """Return what levels lose against the best one tried, interpolated between those tried.

    Args:
        levels: a level for each sequence, (M,).
        decibels: PSNR or score of the sequences by level tried, (M, L).

    Returns:
        The loss in dB, (M,).
    """
    rows = zip(levels.tolist(), decibels.numpy(), strict=False)
    reached = [float(np.interp(level, LEVELS, row)) for level, row in rows]
    return decibels.amax(dim=1) - torch.tensor(reached)


class Samples(NamedTuple):
    """Sequences of one kind, to fit to."""

    statistics: Tensor
    """Statistics of the features of frames, (N, F, 768)."""
    tried: Tried


@torch.no_grad()
def measure(
    model: CompactDenoiser, lpips: Lpips, pool: Pool, kind: str, num_sequences: int, num_tried: int
) -> Samples:
    """Measure sequences of a kind.

    Args:
        model: the network.
        lpips: the perceptual metric.
        pool: the sequences.
        kind: their kind.
        num_sequences: number of sequences.
        num_tried: of how many of them levels are tried.
    """
    statistics, levels, tried = [], [], []
    for start in range(0, num_sequences, BATCH_SIZE):
        pairs = [pool.sequence(kind, number) for number in range(start, start + BATCH_SIZE)]
        sequences = [sequence for sequence, _ in pairs]
        levels += [float(level) for _, level in pairs]
        statistics.append(torch.stack([_statistics(model, sequences, index) for index in JUDGED], dim=1))
        if start < num_tried:
            tried.append(_tried(model, lpips, sequences))
    return Samples(torch.cat(statistics), _joined(levels, tried))


def _statistics(model: CompactDenoiser, sequences: list[Sequence], index: int) -> Tensor:
    return model.level_statistics(
        torch.stack([each.low_res[index] for each in sequences]).float() / 127.5 - 1
    )


def _tried(model: CompactDenoiser, lpips: Lpips, sequences: list[Sequence]) -> Tensor:
    """Return PSNR-Y and scores of the last frames by level tried, (2, N, L)."""
    columns = []
    for level in LEVELS:
        levels = torch.full((len(sequences),), float(level))
        textures = torch.full_like(levels, TEXTURE)
        *_, (results, truths) = restored(model, sequences, levels, textures, NUM_RESTORED)
        psnr = psnr_of_each(results, truths)
        distances = lpips(results.clamp(-1, 1) / 2 + 0.5, truths / 2 + 0.5)
        columns.append(torch.stack([psnr, psnr - LPIPS_DECIBELS * distances]))
    return torch.stack(columns, dim=2)


def _joined(levels: list[float], tried: list[Tensor]) -> Tried:
    return Tried(torch.tensor(levels), *torch.cat(tried, dim=1))


def fit(model: CompactDenoiser, samples: dict[str, Samples]) -> None:
    """Fit the head of a network to samples, with all other weights as they are."""
    statistics = torch.cat([each.statistics for each in samples.values()])
    targets = torch.cat([each.tried.targets for each in samples.values()])
    is_clean = torch.cat(
        [torch.full_like(each.tried.levels, kind == CLEAN) for kind, each in samples.items()]
    )
    mean, deviation = statistics.mean((0, 1)), statistics.std((0, 1)) + 1e-4
    normalised = (statistics - mean) / deviation
    optimizer = torch.optim.AdamW(_reset(model.level_head).parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, NUM_STEPS)
    generator = torch.Generator().manual_seed(0)
    for _ in range(NUM_STEPS):
        chosen = torch.randint(len(targets), (256,), generator=generator)
        frame = int(torch.randint(len(JUDGED), (), generator=generator))
        estimates = _estimate(model, normalised[chosen, frame])
        errors = F.huber_loss(estimates, targets[chosen], reduction="none", delta=15.0)
        weights = 1 + is_clean[chosen] * (estimates > targets[chosen])
        optimizer.zero_grad()
        (weights * errors).mean().backward()
        optimizer.step()
        schedule.step()
    first = cast(torch.nn.Linear, model.level_head[0])
    with torch.no_grad():  # the normalisation becomes part of the first layer
        first.bias.sub_(first.weight @ (mean / deviation))
        first.weight.div_(deviation)


def _reset(head: torch.nn.Module) -> torch.nn.Module:
    for layer in head.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.reset_parameters()
    return head


def _estimate(model: CompactDenoiser, statistics: Tensor) -> Tensor:
    return cast(Tensor, model.config.max_noise_level * model.level_head(statistics).squeeze(-1).sigmoid())


class Rated(NamedTuple):
    """Held-out films of one kind, and what the program estimates."""

    tried: Tried
    estimates: Tensor
    """Estimated levels, (N,)."""


@torch.inference_mode()
def rate(model: CompactDenoiser, lpips: Lpips, films: Pool, kind: str) -> Rated:
    """Try levels on held-out films of a kind, and estimate them as the program does."""
    levels, tried, estimates = [], [], []
    for number in range(NUM_FILMS):
        film, level = films.sequence(kind, number)
        levels.append(float(level))
        tried.append(_tried(model, lpips, [film]))
        estimates.append(float(level_by(model, film.low_res)))
    return Rated(_joined(levels, tried), torch.tensor(estimates))


def score(rated: dict[str, Rated]) -> dict[str, float]:
    """Return how good the estimates are, by kind and over all."""
    scores: dict[str, float] = {}
    for kind, (tried, estimates) in rated.items():
        scores |= {
            f"{kind}_mae": float((estimates - tried.targets).abs().mean()),
            f"{kind}_mae_to_best": float((estimates - tried.best).abs().mean()),
            f"{kind}_loss_db": float(loss_at(estimates, tried.psnr).mean()),
            f"{kind}_loss_of_score": float(loss_at(estimates, tried.scores).mean()),
            f"{kind}_loss_db_at_target": float(loss_at(tried.targets, tried.psnr).mean()),
        }
        if kind == CLEAN:
            scores["clean_p90"] = float(estimates.quantile(0.9))
    every = [tried for tried, _ in rated.values()]
    fixed = {f"loss_db_at_{level}": _mean_loss(every, level) for level in (0, 25, 40, 75)}
    means = {
        name: sum(scores[f"{kind}_{name}"] for kind in KINDS) / len(KINDS)
        for name in ("mae", "mae_to_best", "loss_db", "loss_of_score")
    }
    return {**means, **fixed, **scores}


def _mean_loss(every: list[Tried], level: float) -> float:
    """Return the mean loss in dB of one level for all."""
    losses = [loss_at(torch.full((len(tried.psnr),), level), tried.psnr) for tried in every]
    return float(torch.cat(losses).mean())


def _prepare() -> None:
    torch.set_num_threads(1)
    keep_host_memory()


def main() -> None:
    """Fit the head of a model, write it back, and record how good it is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, help="a model folder")
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--films", type=Path, required=True, help="held-out sequences of a larger size")
    parser.add_argument("--sequences", type=int, default=4096, help="most of each kind, to fit to")
    parser.add_argument("--tried", type=int, default=96, help="of how many levels are tried")
    parser.add_argument("--processes", type=int, default=1, help="processes that share the kinds")
    arguments = parser.parse_args()
    _prepare()
    model = CompactDenoiser.from_pretrained(arguments.model / "unet").float().eval()
    pool, lpips = Pool(arguments.pool), Lpips()
    lengths = [min(arguments.sequences, length) for length in pool.lengths(KINDS).values()]
    with ProcessPoolExecutor(arguments.processes, initializer=_prepare) as processes:
        measured = partial(measure, model, lpips, pool, num_tried=arguments.tried)
        samples = dict(zip(KINDS, processes.map(measured, KINDS, lengths), strict=True))
        torch.manual_seed(0)
        fit(model, samples)
        films = Pool(arguments.films)
        rated = dict(zip(KINDS, processes.map(partial(rate, model, lpips, films), KINDS), strict=True))
    scores = score(rated)
    model.register_to_config(_name_or_path="compact")  # not the folder of the day
    model.half().save_pretrained(arguments.model / "unet")
    (arguments.model / "levels.json").write_text(json.dumps(scores, indent=2) + "\n")
    print(json.dumps(scores, indent=2))


if __name__ == "__main__":
    main()
