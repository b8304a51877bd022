"""What videos are evaluated on: clips, reduced cleanly or as old material, and drawings."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from scripts.evaluate.clips import REAL, Clip, load_clips
from scripts.evaluate.drawings import load_drawings
from scripts.evaluate.reductions import REDUCTIONS

OF_DRAWINGS = ("clean", "web")
"""Reductions of drawings."""


@dataclass(frozen=True)
class Case:
    """Clips that are reduced in one way."""

    name: str
    """Name of the reduction, after `drawings_` if the clips are drawings."""
    clips: list[Clip]
    low_res: list[np.ndarray]
    """Input of the methods, uint8, (T, H, W, 3) for each clip."""


def load_cases(arguments: argparse.Namespace) -> Iterator[Case]:
    """Yield the cases that the arguments of a command ask for, without those that `--only` leaves empty."""
    only, num_frames = arguments.only, arguments.frames
    clips = list(load_clips(arguments.clips, arguments.pictures, num_frames, only))
    for reduction in arguments.reductions if clips else ():
        yield _case(reduction, reduction, clips)
    if arguments.drawings is not None:
        drawings = list(load_drawings(arguments.drawings, num_frames, only))
        for reduction in OF_DRAWINGS if drawings else ():
            yield _case(f"drawings_{reduction}", reduction, drawings)


def _case(name: str, reduction: str, clips: list[Clip]) -> Case:
    return Case(name, clips, [REDUCTIONS[reduction](clip.frames) for clip in clips])


def sample(clips: list[Clip]) -> list[int]:
    """Return the indices of the first, the middle and the last clip, of the real ones if there are any."""
    indices = [i for i, clip in enumerate(clips) if clip.name in REAL] or list(range(len(clips)))
    return sorted({indices[0], indices[len(indices) // 2], indices[-1]}) if indices else []
