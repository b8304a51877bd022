"""Train the network that tells cuts from other changes, on films of the development half.

python -m scripts.training.cuts --clips FOLDER --photos FOLDER [--films N] [--out FOLDER]
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from scripts.evaluate.joined import Film, make_films
from scripts.evaluate.shots import Material, load_material
from vidx4.temporal.cut_network import NETWORK, RANGE
from vidx4.temporal.cuts import REACH, describe, may_be_cut
from vidx4.temporal.likeness import Thumbnail

SEED = 5
"""Of the films; `scripts.evaluate cuts --half development` makes others of the same scenes."""
HIDDEN = 32
EPOCHS, BATCH_SIZE = 60, 256
LEARNING_RATE, WEIGHT_DECAY = 3e-3, 1e-3
JITTER = 0.05
"""Standard deviation of the noise on features in training, in deviations of each."""
DOUBTFUL = 0.3
"""Weight of frames beside a cut, which the tolerance of a frame allows, and within long transitions."""
LONG_TRANSITION = 6
MEMBERS = 4
"""Networks whose hidden units are put side by side, and whose results are so averaged."""


@dataclass(frozen=True)
class Samples:
    """Frames that may be the first of a shot."""

    features: np.ndarray
    """float32, (N, features)."""
    is_cut: np.ndarray
    weights: np.ndarray


def main() -> None:
    """Make samples, train, and write the network."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=Path, required=True, help="a folder with the clips of shots.py")
    parser.add_argument("--photos", type=Path, required=True, help="the folder of the training pictures")
    parser.add_argument("--films", type=int, default=192, help="number of films to make")
    parser.add_argument("--out", type=Path, default=NETWORK, help="file for the weights")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    samples = collect(load_material(arguments.clips, arguments.photos, "development"), arguments.films)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(train(samples), arguments.out)


def collect(material: Material, num_films: int) -> Samples:
    """Return the samples of newly made films."""
    of_films = [_samples(film) for film in make_films(material, num_films, SEED)]
    return Samples(*(np.concatenate(each) for each in zip(*of_films, strict=True)))


def _samples(film: Film) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features, labels and weights of the frames of a film that need a closer look."""
    thumbnails = [Thumbnail.of(torch.from_numpy(frame).permute(2, 0, 1)) for frame in film.frames]
    labels, weights = _labels(film)
    features, chosen, start = [], [], 0
    for i in range(1, len(thumbnails)):
        before, after = thumbnails[max(start, i - REACH) : i], thumbnails[i : i + REACH]
        if weights[i] and may_be_cut(before, after):
            features.append(describe(before, after))
            chosen.append(i)
        if labels[i]:
            start = i
    return np.array(features), labels[chosen], weights[chosen]


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
        labels[first], weights[first] = True, 1
    return labels, weights


def train(samples: Samples) -> dict[str, np.ndarray]:
    """Return the tensors of a trained network; see `vidx4.temporal.cut_network`."""
    mean, deviation = samples.features.mean(0), samples.features.std(0) + 1e-3
    inputs = torch.from_numpy(((samples.features - mean) / deviation).clip(-RANGE, RANGE).astype(np.float32))
    targets = torch.from_numpy(samples.is_cut.astype(np.float32))
    members = [_fit(inputs, targets, torch.from_numpy(samples.weights), seed) for seed in range(MEMBERS)]
    return {
        "mean": mean.astype(np.float32),
        "deviation": deviation.astype(np.float32),
        "hidden.weight": np.concatenate([each["0.weight"] for each in members]),
        "hidden.bias": np.concatenate([each["0.bias"] for each in members]),
        "out.weight": np.concatenate([each["2.weight"][0] / MEMBERS for each in members]),
        "out.bias": np.mean([each["2.bias"] for each in members], axis=0),
    }


def _fit(inputs: Tensor, targets: Tensor, weights: Tensor, seed: int) -> dict[str, np.ndarray]:
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
