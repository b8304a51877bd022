"""Methods compared on pictures that are reduced four times by antialiased bicubic interpolation."""

import argparse
import json
from dataclasses import asdict, dataclass
from statistics import mean

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from scripts.bench.tables import machine
from scripts.evaluate import methods
from scripts.evaluate.clips import REDUCTIONS, SCALE
from scripts.evaluate.metrics import Lpips, luma, psnr_y, ssim_y
from scripts.evaluate.perceptual import PerceptualMetrics, vmaf
from scripts.evaluate.temporal_metrics import gradient

COLUMNS = {
    "psnr_y": ("PSNR-Y (dB)", 2),
    "ssim_y": ("SSIM-Y", 4),
    "lpips": ("LPIPS", 3),
    "lpips_vgg": ("LPIPS-VGG", 3),
    "dists": ("DISTS", 3),
    "vmaf": ("VMAF", 1),
    "sharpness": ("sharpness", 3),
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
    seconds: float


def run(arguments: argparse.Namespace) -> None:
    """Score every method on every picture of a folder; write `pictures.json` and `pictures.md`."""
    paths = sorted(arguments.pictures.glob("*.png"))
    if not paths:
        raise SystemExit(f"no pictures (*.png) in {arguments.pictures}")
    lpips, perceptual = Lpips(arguments.lpips), PerceptualMetrics()
    truths = [_cropped_to_scale(Image.open(path).convert("RGB")) for path in paths]
    low_res = [REDUCTIONS["clean"](truth[None]) for truth in truths]
    runs = {method: methods.run(method, low_res) for method in arguments.methods}
    scores: dict[str, dict[str, Score]] = {method: {} for method in runs}
    for i, (path, truth) in enumerate(zip(paths, truths, strict=True)):
        metrics = PictureMetrics(truth, lpips, perceptual)
        for method, each in runs.items():
            scores[method][path.stem] = metrics.score(each.results[i][0], each.seconds[i])
    means = {method: _mean(list(of_method.values())) for method, of_method in scores.items()}
    arguments.out.mkdir(parents=True, exist_ok=True)
    record = {
        "pictures": arguments.pictures.name,
        **machine(),
        "threads": methods.NUM_THREADS,
        "mean": means,
        "each": scores,
    }
    text = json.dumps(record, default=asdict, indent=2)
    (arguments.out / "pictures.json").write_text(text + "\n")
    table = _markdown(means)
    (arguments.out / "pictures.md").write_text(table)
    print(table, end="")


def _cropped_to_scale(picture: Image.Image) -> np.ndarray:
    """Crop a picture to multiples of the scale."""
    width, height = (side - side % SCALE for side in picture.size)
    return np.asarray(picture.crop((0, 0, width, height)))


class PictureMetrics:
    """Metrics of results against one picture, the truth, uint8, (H, W, 3)."""

    def __init__(self, truth: np.ndarray, lpips: Lpips, perceptual: PerceptualMetrics) -> None:
        self._truth = truth
        self._lpips, self._perceptual = lpips, perceptual
        self._true_features = perceptual.features(_to_tensor(truth))

    @torch.inference_mode()
    def score(self, result: np.ndarray, seconds: float) -> Score:
        """Score an enlarged picture, uint8, (H, W, 3), which took so many seconds."""
        pair = _to_tensor(result), _to_tensor(self._truth)
        features = self._perceptual.features(pair[0])
        return Score(
            psnr_y(*pair),
            ssim_y(*pair),
            float(self._lpips(*pair)),
            self._perceptual.lpips_vgg(features, self._true_features),
            self._perceptual.dists(features, self._true_features),
            vmaf(result[None], self._truth[None]),
            _sharpness(pair[0]) / _sharpness(pair[1]),
            seconds,
        )


def _sharpness(picture: Tensor) -> float:
    return gradient(luma(picture)[0, 0].float().numpy())


def _to_tensor(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture.transpose(2, 0, 1).copy())[None] / 255


def _mean(scores: list[Score]) -> Score:
    rows = [asdict(score) for score in scores]
    return Score(**{key: mean(row[key] for row in rows) for key in rows[0]})


def _markdown(means: dict[str, Score]) -> str:
    lines = [
        f"| method | {' | '.join(heading for heading, _ in COLUMNS.values())} |",
        "|---" + "|--:" * len(COLUMNS) + "|",
    ]
    for method, row in means.items():
        cells = [f"{getattr(row, key):.{digits}f}" for key, (_, digits) in COLUMNS.items()]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
