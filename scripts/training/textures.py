"""Measure how much texture suits held-out sequences, by how damaged they are.

    python -m scripts.training.textures MODEL --held-out HELD_OUT

Each line is the mean over the last frames of sequences, restored in one step at their true noise level.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scripts.evaluate.flat_noise import flat_noise
from scripts.evaluate.metrics import luma, psnr_y
from scripts.evaluate.perceptual import PerceptualMetrics
from scripts.training.levels import KINDS
from scripts.training.pool import Pool
from scripts.training.recurrence import restored
from scripts.training.sequences import NUM_FRAMES, Sequence
from vidx4.diffusion.device import keep_host_memory
from vidx4.diffusion.models.networks.compact_denoiser import CompactDenoiser

TEXTURES = 0.0, 0.3, 0.6, 1.0
BANDS = {"clean": 0, "up to 50": 50, "up to 100": 100, "up to 150": 150}
"""Highest noise level of each band."""


class Scores(NamedTuple):
    """How near a result comes to the truth."""

    psnr_y: float
    lpips_vgg: float
    dists: float
    flat_noise: float
    """Noise on flat areas over the truth's own; NaN where nothing is flat."""


def measure(model: CompactDenoiser, pool: Pool, num_sequences: int) -> Iterator[tuple[str, float, Scores]]:
    """Yield the band of every sequence, with a texture and the scores of its last frame.

    Args:
        model: the network.
        pool: held-out sequences of all kinds.
        num_sequences: sequences of each kind.
    """
    metrics = PerceptualMetrics()
    for kind in KINDS:
        pairs = [pool.sequence(kind, number) for number in range(num_sequences)]
        for texture in TEXTURES:
            results = _last(model, pairs, texture)
            for (_, level), (result, truth) in zip(pairs, results, strict=True):
                yield band_of(level), texture, _scores(metrics, result, truth)


@torch.inference_mode()
def _last(
    model: CompactDenoiser, pairs: list[tuple[Sequence, int]], texture: float
) -> list[tuple[Tensor, Tensor]]:
    """Return results and truths of the last frames, RGB, in [0, 1], (3, 4H, 4W)."""
    levels = torch.tensor([float(level) for _, level in pairs])
    sequences = [sequence for sequence, _ in pairs]
    *_, (results, truths) = restored(model, sequences, levels, torch.full_like(levels, texture), NUM_FRAMES)
    return list(zip(((results + 1) * 127.5).round() / 255, truths / 2 + 0.5, strict=True))


def _scores(metrics: PerceptualMetrics, result: Tensor, truth: Tensor) -> Scores:
    result, truth = result[None], truth[None]
    features = metrics.features(result), metrics.features(truth)
    planes = [luma(each)[0].float().numpy() for each in (result, truth)]
    return Scores(
        psnr_y(result, truth),
        metrics.lpips_vgg(*features),
        metrics.dists(*features),
        flat_noise(*planes),
    )


def band_of(level: int) -> str:
    """Return the name of the band that a noise level belongs to."""
    return next(name for name, highest in BANDS.items() if level <= highest)


def main() -> None:
    """Print a table of bands and textures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path, help="a model folder")
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--sequences", type=int, default=16, help="of each kind")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_host_memory()
    model = CompactDenoiser.from_pretrained(arguments.model / "unet").float().eval()
    scores: defaultdict[tuple[str, float], list[Scores]] = defaultdict(list)
    for band, texture, each in measure(model, Pool(arguments.held_out), arguments.sequences):
        scores[band, texture].append(each)
    print(f"{'noise level':12} texture sequences PSNR-Y LPIPS-VGG DISTS flat-noise")
    for band, texture in sorted(scores, key=lambda key: (list(BANDS).index(key[0]), key[1])):
        rows = scores[band, texture]
        psnr, lpips, dists, flat = np.nanmean(np.array(rows), axis=0)
        print(f"{band:12} {texture:7} {len(rows):9} {psnr:6.2f} {lpips:9.4f} {dists:.4f} {flat:.2f}")


if __name__ == "__main__":
    main()
