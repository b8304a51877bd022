"""Methods compared on clips that are reduced cleanly, and as several kinds of old material."""

import argparse
import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from scripts.bench.tables import machine
from scripts.evaluate.cache import Runner, keep_score
from scripts.evaluate.cases import Case, load_cases, sample
from scripts.evaluate.flat_noise import flat_areas
from scripts.evaluate.methods import Run, merge
from scripts.evaluate.metrics import Lpips
from scripts.evaluate.perceptual import PerceptualMetrics
from scripts.evaluate.reductions import KINDS_OF_OLD
from scripts.evaluate.slices import write_crops, write_slices
from scripts.evaluate.temporal_metrics import VideoMetrics, VideoScore, true_luma
from scripts.evaluate.video_table import Row, markdown

MEAN = f"mean over {', '.join(KINDS_OF_OLD)}"


def run(arguments: argparse.Namespace) -> None:
    """Score every method on every clip of every case.

    Writes `video_<case>.json` and a picture per clip for each case, and all tables into `video.md`.
    """
    lpips, perceptual = Lpips(arguments.lpips), PerceptualMetrics()
    runner = Runner(arguments.cache, arguments.threads, arguments.under_load)
    arguments.out.mkdir(parents=True, exist_ok=True)
    tables: dict[str, list[Row]] = {}
    for case in load_cases(arguments):
        runs = {method: runner.run(method, case.low_res) for method in arguments.methods}
        rows = _rows(case, runs, lpips, perceptual, arguments.cache)
        _write_record(arguments, case, rows)
        _write_pictures(arguments, case, runs)
        tables[case.name] = rows
        print(f"{case.name}\n\n{markdown(rows)}", flush=True)
    if kinds := [tables[name] for name in KINDS_OF_OLD if name in tables]:
        tables[MEAN] = [_joined(rows) for rows in zip(*kinds, strict=True)]
        print(f"{MEAN}\n\n{markdown(tables[MEAN])}")
    text = "\n".join(f"## {name}\n\n{markdown(rows)}" for name, rows in tables.items())
    (arguments.out / "video.md").write_text(text)


def _rows(
    case: Case, runs: dict[str, Run], lpips: Lpips, perceptual: PerceptualMetrics, cache: Path | None
) -> list[Row]:
    """Return a row for the truth itself, then one for each method."""
    rows = [Row("truth", {}), *(Row(method, {}, replace(run, results=[])) for method, run in runs.items())]
    for i, (clip, low_res) in enumerate(zip(case.clips, case.low_res, strict=True)):
        metrics = VideoMetrics(clip, low_res, lpips, perceptual)
        results = [clip.frames, *(run.results[i] for run in runs.values())]
        for row, result in zip(rows, results, strict=True):
            inputs = [clip.frames, low_res, result]
            row.scores[clip.name] = keep_score(cache, VideoScore, inputs, partial(metrics.score, result))
    return rows


def _joined(rows: tuple[Row, ...]) -> Row:
    """Join the rows of one method in several cases."""
    scores = {f"{i} {name}": score for i, row in enumerate(rows) for name, score in row.scores.items()}
    runs = [row.run for row in rows if row.run is not None]
    return Row(rows[0].method, scores, merge(runs) if runs else None)


def _write_record(arguments: argparse.Namespace, case: Case, rows: list[Row]) -> None:
    record = {
        "reduction": case.name,
        "frames": arguments.frames,
        **machine(),
        "flat_share": {clip.name: float(flat_areas(true_luma(clip)).mean()) for clip in case.clips},
        "methods": {row.method: {"each": row.scores, **(row.run.facts if row.run else {})} for row in rows},
    }
    path = arguments.out / f"video_{case.name}.json"
    path.write_text(json.dumps(record, default=asdict, indent=2) + "\n")


def _write_pictures(arguments: argparse.Namespace, case: Case, runs: dict[str, Run]) -> None:
    """Write slices of every clip, and crops of the first, middle and last real clip."""
    results = [{method: run.results[i] for method, run in runs.items()} for i in range(len(case.clips))]
    for clip, of_clip in zip(case.clips, results, strict=True):
        write_slices(arguments.out / f"{case.name}_{clip.name}.png", {"truth": clip.frames} | of_clip)
    shown = arguments.show or arguments.methods
    rows = [
        {method: results[i][method] for method in shown} | {"truth": case.clips[i].frames}
        for i in sample(case.clips)
    ]
    if rows:
        write_crops(arguments.out / f"crops_{case.name}.png", rows)
