"""Methods compared on pictures that are reduced four times by antialiased bicubic interpolation."""

import argparse
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from scripts.bench.tables import machine
from scripts.evaluate.cache import Runner, keep_score
from scripts.evaluate.clips import reduce_clean
from scripts.evaluate.flat_noise import flat_noise
from scripts.evaluate.methods import Run, explain_marks
from scripts.evaluate.metrics import Lpips, luma, psnr_y, ssim_y
from scripts.evaluate.perceptual import Features, PerceptualMetrics, vmaf
from scripts.evaluate.temporal_metrics import gradient
from vidx4.frames import SCALE

COLUMNS = {
    "psnr_y": ("PSNR-Y (dB)", 2),
    "ssim_y": ("SSIM-Y", 4),
    "lpips": ("LPIPS", 3),
    "lpips_vgg": ("LPIPS-VGG", 3),
    "dists": ("DISTS", 3),
    "vmaf": ("VMAF", 1),
    "sharpness": ("sharpness", 3),
    "flat_noise": ("flat noise", 2),
    "seconds": ("seconds a picture", 2),
}
"""Heading and decimals of each metric."""


@dataclass(frozen=True)
class Score:
    """Nearness of one result to the truth, or the mean over several."""

    psnr_y: float
    """dB; higher is nearer."""
    ssim_y: float
    """Up to 1; higher is nearer."""
    lpips: float
    """From 0; lower looks nearer."""
    lpips_vgg: float
    """LPIPS with another network."""
    dists: float
    vmaf: float
    """Up to 100; higher is nearer."""
    sharpness: float
    """Mean gradient of luma over the truth's."""
    flat_noise: float
    """Noise on flat areas over the truth's; NaN if there are none. See `flat_noise`."""
    seconds: float = float("nan")


def run(arguments: argparse.Namespace) -> None:
    """Score every method on every picture of a folder; write `pictures.json` and `pictures.md`."""
    lpips, perceptual = Lpips(arguments.lpips), PerceptualMetrics()
    truths = load_pictures(arguments.pictures)
    low_res = [reduce_clean(truth[None]) for truth in truths.values()]
    runner = Runner(arguments.cache, arguments.threads, arguments.under_load)
    runs = {method: runner.run(method, low_res) for method in arguments.methods}
    scores: dict[str, dict[str, Score]] = {method: {} for method in runs}
    for i, (name, truth) in enumerate(truths.items()):
        metrics = PictureMetrics(truth, lpips, perceptual)
        for method, each in runs.items():
            result = each.results[i][0]
            score = keep_score(arguments.cache, Score, [truth, result], partial(metrics.score, result))
            scores[method][name] = replace(score, seconds=each.seconds[i])
    means = {method: _mean(list(of_method.values())) for method, of_method in scores.items()}
    arguments.out.mkdir(parents=True, exist_ok=True)
    record = {
        "pictures": arguments.pictures.name,
        **machine(),
        "runs": {method: each.facts for method, each in runs.items()},
        "mean": means,
        "each": scores,
    }
    text = json.dumps(record, default=asdict, indent=2)
    (arguments.out / "pictures.json").write_text(text + "\n")
    table = _markdown(means, runs)
    (arguments.out / "pictures.md").write_text(table)
    print(table, end="")


def load_pictures(folder: Path) -> dict[str, np.ndarray]:
    """Return the pictures of a folder by name, uint8, (H, W, 3), cropped to multiples of the scale."""
    paths = sorted(folder.glob("*.png"))
    if not paths:
        raise SystemExit(f"no pictures (*.png) in {folder}")
    return {path.stem: _cropped_to_scale(Image.open(path).convert("RGB")) for path in paths}


def _cropped_to_scale(picture: Image.Image) -> np.ndarray:
    width, height = (side - side % SCALE for side in picture.size)
    return np.asarray(picture.crop((0, 0, width, height)))


class PictureMetrics:
    """Metrics of results against one picture, the truth, uint8, (H, W, 3)."""

    def __init__(self, truth: np.ndarray, lpips: Lpips, perceptual: PerceptualMetrics) -> None:
        self._truth = truth
        self._lpips, self._perceptual = lpips, perceptual

    @cached_property
    def _true_features(self) -> Features:
        return self._perceptual.features(_to_tensor(self._truth))

    @torch.inference_mode()
    def score(self, result: np.ndarray) -> Score:
        """Score an enlarged picture, uint8, (H, W, 3)."""
        pair = _to_tensor(result), _to_tensor(self._truth)
        features = self._perceptual.features(pair[0])
        planes = [_luma(picture) for picture in pair]
        return Score(
            psnr_y(*pair),
            ssim_y(*pair),
            float(self._lpips(*pair)),
            self._perceptual.lpips_vgg(features, self._true_features),
            self._perceptual.dists(features, self._true_features),
            vmaf(result[None], self._truth[None]),
            gradient(planes[0]) / gradient(planes[1]),
            flat_noise(planes[0][None], planes[1][None]),
        )


def _luma(picture: Tensor) -> np.ndarray:
    plane: np.ndarray = luma(picture)[0, 0].float().numpy()
    return plane


def _to_tensor(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture.transpose(2, 0, 1).copy())[None] / 255


def _mean(scores: list[Score]) -> Score:
    """Return the mean of each metric over the pictures that it applies to."""
    rows = [asdict(score) for score in scores]
    return Score(**{key: float(np.nanmean([row[key] for row in rows])) for key in rows[0]})


def _markdown(means: dict[str, Score], runs: dict[str, Run]) -> str:
    lines = [
        f"| method | {' | '.join(heading for heading, _ in COLUMNS.values())} |",
        "|---" + "|--:" * len(COLUMNS) + "|",
    ]
    for method, row in means.items():
        cells = [f"{getattr(row, key):.{digits}f}" for key, (_, digits) in COLUMNS.items()]
        lines.append(f"| {method} | {' | '.join(cells)}{runs[method].mark} |")
    return "\n".join(lines) + "\n" + explain_marks(runs.values())
