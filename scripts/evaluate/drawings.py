"""Clips with made motion over drawings that no weights are trained on."""

import tomllib
from collections.abc import Collection, Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
from PIL import Image

from scripts.evaluate.clips import Clip, Pose, from_picture, pan, zoom

HELD_OUT = Path(__file__).parents[1] / "training" / "held_out.toml"
MOVES: dict[str, Pose] = {"pan": pan(3.0, 2.0), "zoom": zoom(0.01), "slow_pan": pan(-1.5, 0.0)}


def load_drawings(
    photos: Path, num_frames: int, only: Collection[str] | None = None, held_out: Path = HELD_OUT
) -> Iterator[Clip]:
    """Yield clips that move over the held-out drawings, one for each.

    Args:
        photos: the folder of the training pictures.
        num_frames: frames of each clip.
        only: names of the clips to yield; None for all.
        held_out: the list of pictures that no weights are trained on, TOML.
    """
    files = tomllib.loads(held_out.read_text(encoding="utf-8"))["drawings"]
    for file, (move, pose) in zip(files, cycle(MOVES.items()), strict=False):
        name = f"{Path(file).stem}_{move}"
        if only is None or name in only:
            picture = np.asarray(Image.open(photos / file).convert("RGB"))
            yield from_picture(name, picture, pose, num_frames)
