"""Methods compared on clips that are reduced cleanly, and as an old camera and codec would."""

import argparse
import json
import math
from dataclasses import asdict
from statistics import mean

import numpy as np

from scripts.bench.tables import machine
from scripts.evaluate import methods
from scripts.evaluate.clips import REAL, REDUCTIONS, Clip, load_clips
from scripts.evaluate.metrics import Lpips
from scripts.evaluate.perceptual import PerceptualMetrics
from scripts.evaluate.slices import write_crops, write_slices
from scripts.evaluate.temporal_metrics import VideoMetrics, VideoScore

COLUMNS = {
    "psnr_y": ("PSNR-Y", 2, min),
    "ssim_y": ("SSIM-Y", 3, min),
    "lpips": ("LPIPS", 3, max),
    "lpips_vgg": ("LPIPS-VGG", 3, max),
    "dists": ("DISTS", 3, max),
    "vmaf": ("VMAF", 1, min),
    "t_lpips": ("tLPIPS", 1, max),
    "t_of": ("tOF", 2, max),
    "warp_error": ("warping error", 2, max),
    "flicker": ("flicker", 2, max),
    "sticking": ("sticking %", 1, max),
    "sharpness": ("sharpness", 3, min),
}
"""Heading and decimals of each metric, and the function that finds its worst value."""


def run(arguments: argparse.Namespace) -> None:
    """Score every method on every clip; write `video_<reduction>.json`, `.md`, and a picture per clip."""
    lpips, perceptual = Lpips(arguments.lpips), PerceptualMetrics()
    clips = list(load_clips(arguments.clips, arguments.pictures, arguments.frames))
    clips = [clip for clip in clips if not arguments.only or clip.name in arguments.only]
    arguments.out.mkdir(parents=True, exist_ok=True)
    for reduction in arguments.reductions:
        low_res = [REDUCTIONS[reduction](clip.frames) for clip in clips]
        runs = {method: methods.run(method, low_res) for method in arguments.methods}
        _write_scores(arguments, reduction, _scores(clips, low_res, runs, lpips, perceptual), runs)
        results = [{method: each.results[i] for method, each in runs.items()} for i in range(len(clips))]
        _write_pictures(arguments, reduction, clips, results)


def _write_pictures(
    arguments: argparse.Namespace, reduction: str, clips: list[Clip], results: list[dict[str, np.ndarray]]
) -> None:
    """Write slices of every clip, and crops of the first, middle and last real clip."""
    for clip, of_clip in zip(clips, results, strict=True):
        write_slices(arguments.out / f"{reduction}_{clip.name}.png", {"truth": clip.frames} | of_clip)
    real = [i for i, clip in enumerate(clips) if clip.name in REAL]
    indices = sorted({real[0], real[len(real) // 2], real[-1]}) if real else []
    shown = arguments.show or arguments.methods
    rows = [{method: results[i][method] for method in shown} | {"truth": clips[i].frames} for i in indices]
    if rows:
        write_crops(arguments.out / f"crops_{reduction}.png", rows)


def _scores(
    clips: list[Clip],
    low_res: list[np.ndarray],
    runs: dict[str, methods.Run],
    lpips: Lpips,
    perceptual: PerceptualMetrics,
) -> dict[str, dict[str, VideoScore]]:
    """Return scores by method and clip; the first method is the truth itself."""
    scores: dict[str, dict[str, VideoScore]] = {method: {} for method in ("truth", *runs)}
    for i, (clip, frames) in enumerate(zip(clips, low_res, strict=True)):
        metrics = VideoMetrics(clip, frames, lpips, perceptual)
        scores["truth"][clip.name] = metrics.score(clip.frames)
        for method, each in runs.items():
            scores[method][clip.name] = metrics.score(each.results[i])
    return scores


def _write_scores(
    arguments: argparse.Namespace,
    reduction: str,
    scores: dict[str, dict[str, VideoScore]],
    runs: dict[str, methods.Run],
) -> None:
    record = {
        "reduction": reduction,
        "frames": arguments.frames,
        **machine(),
        "threads": methods.NUM_THREADS,
        "methods": {
            method: {
                "each": by_clip,
                "seconds_per_frame": runs[method].seconds if method in runs else None,
                "peak_memory": runs[method].peak_memory if method in runs else None,
            }
            for method, by_clip in scores.items()
        },
    }
    path = arguments.out / f"video_{reduction}.json"
    path.write_text(json.dumps(record, default=asdict, indent=2) + "\n")
    table = _markdown(scores, runs)
    path.with_suffix(".md").write_text(table)
    print(f"{reduction}\n{table}", end="")


def _markdown(scores: dict[str, dict[str, VideoScore]], runs: dict[str, methods.Run]) -> str:
    headings = ["method", *(heading for heading, _, _ in COLUMNS.values()), "s/frame", "peak MiB"]
    lines = [f"| {' | '.join(headings)} |", "|---" + "|--:" * (len(headings) - 1) + "|"]
    for method, by_clip in scores.items():
        cells = [_mean_and_worst(key, list(by_clip.values())) for key in COLUMNS]
        cells += (
            [f"{mean(runs[method].seconds):.2f}", str(runs[method].peak_memory >> 20)]
            if method in runs
            else ["", ""]
        )
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _mean_and_worst(key: str, scores: list[VideoScore]) -> str:
    """Format the mean and the worst over the clips that a metric applies to."""
    _, decimals, worst = COLUMNS[key]
    values = [value for score in scores if not math.isnan(value := getattr(score, key))]
    return f"{mean(values):.{decimals}f} ({worst(values):.{decimals}f})" if values else ""
