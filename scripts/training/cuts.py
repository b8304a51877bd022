"""Train the network that tells cuts from other changes, on films of the development half.

python -m scripts.training.cuts --clips FOLDER --photos FOLDER [--films N] [--processes N] [--out FILE]
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from scripts.evaluate.cuts import JUMP, Score, score_film
from scripts.evaluate.joined import Film, make_film
from scripts.evaluate.shots import Material, load_development
from vidx4.temporal.cut_network import NETWORK, RANGE, score_of
from vidx4.temporal.cuts import REACH, describe, may_be_cut
from vidx4.temporal.likeness import Thumbnail

SEED = 11
"""Of the films; `scripts.evaluate cuts --half development` makes others of the same scenes."""
FOLDS = 2
"""Parts of the scenes; the threshold is chosen on each part by a network that the other one trained."""
BLOCK = 24
"""Films in a row of one part: one of each style, live and animated."""
HIDDEN = 32
EPOCHS, BATCH_SIZE = 60, 256
LEARNING_RATE, WEIGHT_DECAY = 3e-3, 1e-3
JITTER = 0.05
"""Standard deviation of the noise on features in training, in deviations of each."""
DOUBTFUL = 0.3
"""Weight of frames beside a cut, which the tolerance of a frame allows, within long transitions, and of jumps
within one scene."""
LONG_TRANSITION = 6
MEMBERS = 6
"""Networks whose hidden units are put side by side, and whose results are so averaged."""
LEAST_PRECISION = 0.95
"""Of live action and of animation, in cross-validation; of the thresholds that reach it, the one that finds
the most cuts is taken."""
THRESHOLDS: list[float] = np.arange(-4, 4, 0.1).tolist()

Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Samples:
    """Frames of a film that may be the first of a shot."""

    film: Film
    """Without its frames."""
    fold: int
    places: np.ndarray
    """Indices of frames, (N,)."""
    features: np.ndarray
    """float32, (N, features)."""
    is_cut: np.ndarray
    weights: np.ndarray


def main() -> None:
    """Make samples, cross-validate, train, and write the network."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=Path, required=True, help="a folder with the clips of shots.py")
    parser.add_argument("--photos", type=Path, required=True, help="the folder of the training pictures")
    parser.add_argument("--films", type=int, default=384, help="number of films to make")
    parser.add_argument("--processes", type=int, default=1, help="processes that make films")
    parser.add_argument("--out", type=Path, default=NETWORK, help="file for the weights")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    material = load_development(arguments.clips, arguments.photos)
    samples = collect(material, arguments.films, arguments.processes)
    threshold = cross_validated(samples)
    network = train(samples)
    network["out.bias"] -= np.float32(threshold)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(network, arguments.out)


def collect(material: Material, num_films: int, num_processes: int) -> list[Samples]:
    """Return the samples of newly made films."""
    folds = [material.fold(i, FOLDS) for i in range(FOLDS)]
    with ProcessPoolExecutor(num_processes, get_context("fork"), _folds.extend, (folds,)) as pool:
        return list(pool.map(_samples, range(num_films)))


_folds: list[Material] = []
"""Of a process that makes films: gigabytes, which forking shares."""


def _samples(index: int) -> Samples:
    """Return features, labels and weights of the frames of a film that need a closer look."""
    fold = index // BLOCK % FOLDS
    film = make_film(_folds[fold], index, SEED)
    thumbnails = [Thumbnail.of(torch.from_numpy(frame).permute(2, 0, 1)) for frame in film.frames]
    labels, weights = _labels(film)
    features, chosen, start = [], [], 0
    for i in range(1, len(thumbnails)):
        before, after = thumbnails[max(start, i - REACH) : i], thumbnails[i : i + REACH]
        if may_be_cut(before, after):
            features.append(describe(before, after))
            chosen.append(i)
        if labels[i]:
            start = i
    film.frames = []
    return Samples(film, fold, np.array(chosen), np.array(features), labels[chosen], weights[chosen])


def _labels(film: Film) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each frame is the first of a shot, and how much that counts."""
    labels, weights = np.zeros(len(film.frames), bool), np.ones(len(film.frames), np.float32)
    for cut in film.cuts:
        weights[max(0, cut.start - 1) : cut.stop + 1] = DOUBTFUL
    for span in film.gradual:
        is_long = span.stop - span.start >= LONG_TRANSITION
        weights[span.start : span.stop + 1] = DOUBTFUL if is_long else 0
    for span in film.ignored:
        weights[span.start : span.stop + 1] = 0
    for cut in film.cuts:
        first = (cut.start + cut.stop) // 2 if cut.stop - cut.start > 1 else cut.start
        labels[first], weights[first] = True, DOUBTFUL if cut.kind.startswith(JUMP) else 1
    return labels, weights


def cross_validated(samples: Sequence[Samples]) -> float:
    """Return the log-odds from which a change is a cut, chosen on scenes that did not train."""
    scored: list[tuple[Samples, np.ndarray]] = []
    for fold in range(FOLDS):
        network = train([each for each in samples if each.fold != fold])
        scored += [(each, scores_of(network, each)) for each in samples if each.fold == fold]
    threshold = best_threshold(scored)
    for is_animated in (False, True):
        score = score_at(threshold, scored, is_animated)
        name = "animated" if is_animated else "live"
        print(f"{name} at {threshold:.2f}: precision {score.precision:.3f}, recall {score.recall:.3f}")
        print(f"  found {dict(score.found)} of {dict(score.cuts)}; false {dict(score.false)}")
    return threshold


def scores_of(network: Weights, samples: Samples) -> np.ndarray:
    """Return the log-odds of each sample."""
    return np.array([score_of(network, each) for each in samples.features])


def best_threshold(scored: Sequence[tuple[Samples, np.ndarray]]) -> float:
    """Return the threshold of `LEAST_PRECISION`, or of the most precision if none has it."""
    precise: dict[float, float] = {}
    for threshold in THRESHOLDS:
        halves = [score_at(threshold, scored, is_animated) for is_animated in (False, True)]
        precise[threshold] = min(half.precision for half in halves)
        if precise[threshold] >= LEAST_PRECISION:
            return threshold
    return max(precise, key=lambda each: precise[each])


def score_at(threshold: float, scored: Sequence[tuple[Samples, np.ndarray]], is_animated: bool) -> Score:
    """Return what is found from a threshold on."""
    total = Score()
    for samples, scores in scored:
        if samples.film.is_animated == is_animated:
            total += score_film(samples.film, samples.places[scores > threshold].tolist())
    return total


def train(samples: Sequence[Samples]) -> Weights:
    """Return the tensors of a trained network; see `vidx4.temporal.cut_network`."""
    features, is_cut, weights = (
        np.concatenate([getattr(each, name) for each in samples])
        for name in ("features", "is_cut", "weights")
    )
    features, is_cut, weights = (each[weights > 0] for each in (features, is_cut, weights))
    mean, deviation = features.mean(0), features.std(0) + 1e-3
    inputs = torch.from_numpy(((features - mean) / deviation).clip(-RANGE, RANGE).astype(np.float32))
    targets = torch.from_numpy(is_cut.astype(np.float32))
    members = [_fit(inputs, targets, torch.from_numpy(weights), seed) for seed in range(MEMBERS)]
    return {
        "mean": mean.astype(np.float32),
        "deviation": deviation.astype(np.float32),
        "hidden.weight": np.concatenate([each["0.weight"] for each in members]),
        "hidden.bias": np.concatenate([each["0.bias"] for each in members]),
        "out.weight": np.concatenate([each["2.weight"][0] / MEMBERS for each in members]),
        "out.bias": np.mean([each["2.bias"] for each in members], axis=0),
    }


def _fit(inputs: Tensor, targets: Tensor, weights: Tensor, seed: int) -> Weights:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(inputs.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    num_steps = EPOCHS * -(-len(inputs) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, num_steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(inputs)).split(BATCH_SIZE):
            noisy = inputs[batch] + JITTER * torch.randn(len(batch), inputs.shape[1])
            loss = F.binary_cross_entropy_with_logits(network(noisy)[:, 0], targets[batch], weights[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


if __name__ == "__main__":
    main()
