"""What a change of scenes leaves behind: `compact` with its state kept, and with a cut in the middle."""

import argparse
import json
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import cv2
import numpy as np
import torch

from scripts.bench.tables import machine
from scripts.evaluate.clips import REAL, read, reduce_clean
from vidx4 import FrameBatch, Upscaler
from vidx4.frames import SCALE

SCENES = "city", "ducks", "lab", "bbb"
"""Clips of `clips.REAL`, each joined to the next."""
SIZE = 448, 248
BEFORE, LENGTH, AFTER = 8, 12, 10
"""Frames before, in and after a transition."""
JUMPS = 1.15, 1.25, 1.35
"""Factors to the zoom across a jump; those of `joined.py` are between the first and the last."""

Mix = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def _dissolve(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    return (a * (1 - share) + b * share).round().astype(np.uint8)


def _wipe(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    column = round(share * a.shape[1] / SCALE) * SCALE
    return np.hstack([b[:, :column], a[:, column:]])


def _fade(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    picture, weight = (a, 1 - 2 * share) if share < 0.5 else (b, 2 * share - 1)
    return (picture * weight).round().astype(np.uint8)


def _cut(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    return b if share >= 0.5 else a


def _jump(zoom: float, a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    """Jump nearer in one scene."""
    if share < 0.5:
        return a
    height, width = a.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 0, zoom)
    nearer: np.ndarray = cv2.warpAffine(a, matrix, (width, height), flags=cv2.INTER_CUBIC)
    return nearer


MIXES: dict[str, Mix] = {
    "dissolve": _dissolve,
    "wipe": _wipe,
    "fade": _fade,
    "hard cut": _cut,
    **{f"jump to a view {zoom} times as near": partial(_jump, zoom) for zoom in JUMPS},
}


def run(arguments: argparse.Namespace) -> None:
    """Measure all pairs of scenes and kinds of transition; write `transitions.json` and `transitions.md`."""
    total = BEFORE + LENGTH + AFTER
    clips = [read(arguments.clips / REAL[name][0], REAL[name][1], total, *SIZE) for name in SCENES]
    upscaler = Upscaler.load("compact", noise_level=0)
    rows: dict[str, list[list[float]]] = {name: [] for name in MIXES}
    for first, second in pairwise(clips):
        for name, mix in MIXES.items():
            shares = ((np.arange(total) - BEFORE + 1) / (LENGTH + 1)).clip(0, 1)
            truth = np.stack([mix(*each) for each in zip(first, second, shares, strict=True)])
            rows[name].append(_gain_of_a_cut(upscaler, truth))
    means = {name: np.mean(each, axis=0).round(3).tolist() for name, each in rows.items()}
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**machine(), "gain of a cut, dB": means, "each": rows}, indent=2)
    (arguments.out / "transitions.json").write_text(text + "\n", encoding="utf-8")
    lines = ["| transition | within | first 3 frames after | the rest |", "|---|--:|--:|--:|"]
    lines += [f"| {name} | {' | '.join(f'{value:+.2f}' for value in row)} |" for name, row in means.items()]
    table = "\n".join(lines) + "\n"
    (arguments.out / "transitions.md").write_text(table, encoding="utf-8")
    print(table, end="")


def _gain_of_a_cut(upscaler: Upscaler, truth: np.ndarray) -> list[float]:
    """Return by how many dB a cut in the middle brings the result nearer to the truth, in three stretches."""
    middle = int(np.ceil(BEFORE + LENGTH / 2))
    low_res = torch.from_numpy(reduce_clean(truth)).permute(0, 3, 1, 2).contiguous()
    kept, cut = (_psnr(_enlarged(upscaler, low_res, start), truth) for start in (0, middle))
    gain = cut - kept
    end = BEFORE + LENGTH
    return [float(gain[middle:end].mean()), float(gain[end : end + 3].mean()), float(gain[end + 3 :].mean())]


def _enlarged(upscaler: Upscaler, low_res: torch.Tensor, cut: int) -> np.ndarray:
    state, results = None, []
    for i, frame in enumerate(low_res):
        upscaled = upscaler(FrameBatch(frame[None], pts=(i,)), None if i == cut else state)
        state = upscaled.state
        results.append(upscaled.batch.data[0])
    return torch.stack(results).permute(0, 2, 3, 1).numpy()


def _psnr(result: np.ndarray, truth: np.ndarray) -> np.ndarray:
    error = np.square(result.astype(np.float64) - truth).mean((1, 2, 3))
    psnr: np.ndarray = 10 * np.log10(255**2 / np.maximum(error, 1e-9))
    return psnr
