"""Long runs: how quality changes from quarter to quarter, so that what piles up is seen."""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scripts.bench.tables import machine
from scripts.evaluate.cache import Runner, keep_score
from scripts.evaluate.clips import read
from scripts.evaluate.flat_noise import flat_noise
from scripts.evaluate.methods import Run
from scripts.evaluate.metrics import Lpips, luma, psnr_y
from scripts.evaluate.reductions import REDUCTIONS

CLIPS = {
    "bbb": ("bbb_720p_5.1.mp4", 8, 640, 360),
    "lab": ("lab_pal_sd_sar16-15.mp4", 60, 480, 384),
    "bottles": ("bottles_640x360.mp4", 20, 448, 248),
}
"""File, first frame, and the size to reduce it to, of clips with 120 frames and no cut.

An animation that moves, a room with a person, and a scene that stands still: little but noise changes there.
"""
NUM_QUARTERS = 4

Distance = Callable[[Tensor, Tensor], Tensor]
"""LPIPS, or another distance of two RGB pictures in [0, 1], (1, 3, H, W) -> (1,)."""

COLUMNS = {"psnr_y": ("PSNR-Y", 2), "lpips": ("LPIPS", 3), "flat_noise": ("flat noise", 2)}
"""Heading and decimals of each metric."""


@dataclass(frozen=True)
class QuarterScores:
    """Scores of each quarter of a run, first to last."""

    psnr_y: list[float]
    """dB; higher is nearer."""
    lpips: list[float]
    """From 0; lower is nearer to the eye."""
    flat_noise: list[float]
    """Noise on flat areas over the truth's; NaN where there are none."""


@dataclass(frozen=True)
class Row:
    """Scores of one method on one clip, reduced in one way."""

    reduction: str
    clip: str
    method: str
    scores: QuarterScores
    run: Run
    """Time and memory that it took, without the results."""


def run(arguments: argparse.Namespace) -> None:
    """Score every method on long clips; write `long.json` and `long.md`."""
    rows = list(_rows(arguments))
    arguments.out.mkdir(parents=True, exist_ok=True)
    record = {
        "frames": arguments.frames,
        "scored_every": arguments.every,
        **machine(),
        "rows": [asdict(row) | {"run": row.run.facts} for row in rows],
    }
    (arguments.out / "long.json").write_text(json.dumps(record, indent=2) + "\n")
    (arguments.out / "long.md").write_text(table := markdown(rows))
    print(table, end="")


def _rows(arguments: argparse.Namespace) -> Iterator[Row]:
    lpips = Lpips(arguments.lpips)
    runner = Runner(arguments.cache, arguments.threads, arguments.under_load)
    for clip in arguments.only or CLIPS:
        truth = load_truth(arguments.clips, clip, arguments.frames)
        for reduction in arguments.reductions:
            low_res = REDUCTIONS[reduction](truth)
            for method in arguments.methods:
                run = runner.run(method, [low_res])
                scores = _scored(arguments.cache, run.results[0], truth, lpips, arguments.every)
                yield Row(reduction, clip, method, scores, replace(run, results=[]))


def load_truth(folder: Path, clip: str, num_frames: int) -> np.ndarray:
    """Read a clip of `CLIPS`, uint8, (T, H, W, 3)."""
    file, start, width, height = CLIPS[clip]
    frames = read(folder / file, start, num_frames, width, height)
    if len(frames) < num_frames:
        raise SystemExit(f"{clip} has {len(frames)} frames from {start} on, not {num_frames}")
    return frames


def _scored(
    cache: Path | None, result: np.ndarray, truth: np.ndarray, distance: Distance, every: int
) -> QuarterScores:
    inputs = [result, truth, np.array(every)]
    return keep_score(cache, QuarterScores, inputs, partial(score_quarters, result, truth, distance, every))


@torch.inference_mode()
def score_quarters(
    result: np.ndarray, truth: np.ndarray, distance: Distance, every: int = 1
) -> QuarterScores:
    """Score each quarter of a result, uint8, (T, H, W, 3).

    Args:
        result: the enlarged frames.
        truth: what they should be.
        distance: the metric of the picture's look.
        every: frames from one that is scored to the next.
    """
    quarters = [_score(*quarter, distance) for quarter in _quarters(result, truth, every)]
    psnrs, distances, noises = (list(column) for column in zip(*quarters, strict=True))
    return QuarterScores(psnrs, distances, noises)


def _quarters(result: np.ndarray, truth: np.ndarray, every: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    bounds = [len(truth) * i // NUM_QUARTERS for i in range(NUM_QUARTERS + 1)]
    for start, stop in pairwise(bounds):
        yield result[start:stop:every], truth[start:stop:every]


def _score(result: np.ndarray, truth: np.ndarray, distance: Distance) -> tuple[float, float, float]:
    """Return the mean PSNR-Y and LPIPS, and the noise on flat areas."""
    frames = [torch.from_numpy(each.transpose(0, 3, 1, 2).copy()) / 255 for each in (result, truth)]
    pairs = list(zip(*(each.split(1) for each in frames), strict=True))
    planes = [luma(each)[:, 0].float().numpy() for each in frames]
    return (
        float(np.mean([psnr_y(a, b) for a, b in pairs])),
        float(np.mean([float(distance(a, b)) for a, b in pairs])),
        flat_noise(planes[0], planes[1]),
    )


def markdown(rows: list[Row]) -> str:
    """Return a table of the quarters and of the change from the first to the last."""
    headings = ["input", "method", *(heading for heading, _ in COLUMNS.values())]
    lines = [f"| {' | '.join(headings)} |", "|---|---" + "|--:" * len(COLUMNS) + "|"]
    for row in rows:
        cells = [_quarters_cell(getattr(row.scores, key), digits) for key, (_, digits) in COLUMNS.items()]
        lines.append(f"| {row.clip}, {row.reduction} | {row.method} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", "Each cell has the four quarters, and the change from first to last.\n"])


def _quarters_cell(values: list[float], digits: int) -> str:
    change = f"{values[-1] - values[0]:+.{digits}f}"
    return f"{' '.join(f'{value:.{digits}f}' for value in values)} ({change})"
