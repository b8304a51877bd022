"""Fit the head that estimates the noise level of a picture, once the rest of the network is trained.

    python -m scripts.training.levels MODEL --pool POOL --held-out HELD_OUT

The target for a sequence is the level, of those tried, at which its frames come nearest to the truth; the
level that it was made at doesn't matter. The head sees early features of single frames, computed with an
unknown level. Over-estimates of clean frames weigh double. `MODEL/levels.json` records how good it is.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from scripts.training.pool import Pool
from scripts.training.sequences import CLEAN, Sequence
from scripts.training.trainer import LAST
from vidx4.diffusion.device import keep_host_memory
from vidx4.diffusion.models.compact_denoiser import CompactDenoiser, Memory, ResidualAutoencoder
from vidx4.frames import SCALE
from vidx4.temporal.warp import Warp

KINDS = CLEAN, "camera", "dvd", "vhs", "web", "film"
LEVELS = 0, 10, 25, 40, 55, 75, 100, 125, 150
"""Levels that are tried."""
NUM_FRAMES = 3
"""Frames of a sequence that are restored to compare levels; the first has no past."""
NUM_STEPS = 3000


class Samples(NamedTuple):
    """Sequences of one kind."""

    statistics: Tensor
    """Statistics of the early features of frames, (N, 128)."""
    errors: Tensor
    """Mean squared error by level tried, (N, L)."""

    @property
    def best(self) -> Tensor:
        """The best level of each, (N,): that of a parabola through the best one tried and its neighbours."""
        levels, errors = torch.tensor(LEVELS, dtype=torch.float32), self.errors.log()
        index = errors.argmin(dim=1)
        inner = index.clamp(1, len(LEVELS) - 2)
        (x0, x1, x2), (y0, y1, y2) = (
            [field[..., inner + step] if field.ndim == 1 else field.gather(1, (inner + step)[:, None])[:, 0]
             for step in (-1, 0, 1)]
            for field in (levels, errors)
        )  # fmt: skip
        top = (x1 - x0) ** 2 * (y1 - y2) - (x1 - x2) ** 2 * (y1 - y0)
        bottom = (x1 - x0) * (y1 - y2) - (x1 - x2) * (y1 - y0)
        vertex = x1 - 0.5 * top / bottom.where(bottom.abs() > 1e-9, torch.tensor(1e-9))
        refined = vertex.clamp(x0, x2).where(bottom.abs() > 1e-9, levels[index])
        return torch.where(index == inner, refined, levels[index])

    def loss_at(self, levels: Tensor) -> Tensor:
        """Return the loss in dB against the best level tried, interpolated between those tried, (N,)."""
        tried = torch.tensor(LEVELS, dtype=torch.float32)
        right = torch.searchsorted(tried, levels).clamp(1, len(LEVELS) - 1)
        share = ((levels - tried[right - 1]) / (tried[right] - tried[right - 1])).clamp(0, 1)
        decibels = -10 * self.errors.log10()
        near = [decibels.gather(1, each[:, None])[:, 0] for each in (right - 1, right)]
        return decibels.amax(dim=1) - torch.lerp(*near, share)


@dataclass(frozen=True)
class Restorer:
    """Restores sequences at given levels as the program does."""

    model: CompactDenoiser

    @torch.inference_mode()
    def samples(self, sequences: list[Sequence]) -> Samples:
        """Measure sequences of one kind."""
        low_res = torch.stack([each.low_res[0] for each in sequences]).float() / 127.5 - 1
        statistics = self.model.early_statistics(low_res)
        errors = [torch.stack([self._error(each, level) for level in LEVELS]) for each in sequences]
        return Samples(statistics, torch.stack(errors))

    def _error(self, sequence: Sequence, level: float) -> Tensor:
        """Return the mean squared error of the last frame, in [-1, 1]."""
        memory, pictures, hidden = Memory(ResidualAutoencoder()), None, None
        truth, low_res = (field.float() / 127.5 - 1 for field in (sequence.truth, sequence.low_res))
        for index in range(NUM_FRAMES):
            seen = low_res[index : index + 1]
            past = memory.blank(seen)
            if pictures is not None and hidden is not None:
                flow, trust = sequence.flow[index, :1].float(), sequence.trust[index, None, :1].float() / 255
                moved = Warp.along(flow, trust, SCALE).fetch(pictures)
                hidden = Warp.along(flow, trust, 1).fetch_features(hidden.float())
                past = memory(moved, hidden, trust, seen)
            sample = torch.cat([seen, past], dim=1)
            labels = torch.tensor([float(level)])
            with torch.autocast("cpu", torch.bfloat16):
                latents, hidden = self.model(sample, torch.tensor(LAST), class_labels=labels)
            pictures = memory.autoencoder.decode(latents.float(), seen).clamp(-1, 1)
        return (pictures - truth[NUM_FRAMES - 1]).square().mean()


def measure(model: CompactDenoiser, pool: Pool, num_sequences: int) -> dict[str, Samples]:
    """Measure as many sequences of every kind."""
    restorer = Restorer(model)
    return {
        kind: restorer.samples([pool.sequence(kind, number)[0] for number in range(num_sequences)])
        for kind in KINDS
    }


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
    fixed = {
        f"loss_at_{level}": float(
            torch.cat(
                [each.loss_at(torch.full((len(each.best),), float(level))) for each in samples.values()]
            ).mean()
        )
        for level in (0, 25, 40, 75)
    }
    return {
        "mae": float(torch.stack(list(errors.values())).mean()),
        "clean_p90": float(estimates[CLEAN].quantile(0.9)),
        "loss_db": float(torch.cat(list(losses.values())).mean()),
        **{f"{kind}_mae": float(error) for kind, error in errors.items()},
        **{f"{kind}_loss_db": float(loss.mean()) for kind, loss in losses.items()},
        **{f"{kind}_best": float(each.best.mean()) for kind, each in samples.items()},
        **fixed,
    }


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
