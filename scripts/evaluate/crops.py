"""Crops of the first, the middle and the last clip of each case, without scores, which take far longer."""

import argparse

import numpy as np

from scripts.evaluate.cache import Runner
from scripts.evaluate.cases import load_cases, sample
from scripts.evaluate.methods import INTERPOLATIONS, NCNN_MODELS
from scripts.evaluate.slices import write_crops


def run(arguments: argparse.Namespace) -> None:
    """Write `crops_<case>.png`: the middle frame that a method makes of each clip, with most detail."""
    runner = Runner(arguments.cache, arguments.threads, arguments.under_load)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for case in load_cases(arguments):
        rows = []
        for index in sample(case.clips):
            truth, low_res = case.clips[index].frames, case.low_res[index]
            middle = len(truth) // 2
            made = {each: one_frame(runner, each, low_res, middle) for each in arguments.methods}
            rows.append(made | {"truth": truth[middle : middle + 1]})
        write_crops(arguments.out / f"crops_{case.name}.png", rows)


def one_frame(runner: Runner, method: str, frames: np.ndarray, index: int) -> np.ndarray:
    """Return what a method makes of one frame of a clip, uint8, (1, 4H, 4W, 3).

    Models that look at one frame alone get no other.
    """
    if method in INTERPOLATIONS or method in NCNN_MODELS:
        return runner.run(method, [frames[index : index + 1]]).results[0]
    return runner.run(method, [frames]).results[0][index : index + 1]
