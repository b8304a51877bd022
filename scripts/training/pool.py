"""Make a pool of sequences once, and read it: nothing is decoded or degraded while a network trains.

    python -m scripts.training.pool --photos PHOTOS --pool POOL --kind KIND --files 64

A file holds one kind, in less than 64 MiB at the default size; one that exists is kept, so that a pool grows
by asking for more.
"""

import argparse
import tomllib
from collections.abc import Mapping
from collections.abc import Sequence as Items
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from scripts.training.degradations import KINDS
from scripts.training.scenes import Photo
from scripts.training.sequences import CLEAN, SIDE, Sequence, draw_level, make_sequence

FILE_LENGTH = 32
"""Sequences in a file."""
NUM_HELD_OUT = 64
"""Sequences of each kind that choose between weights."""
HELD_OUT = tomllib.loads((Path(__file__).parent / "held_out.toml").read_text())
"""Pictures that nothing is trained on, by what they are for."""


class Pool:
    """The sequences of a folder, by kind and number.

    Args:
        folder: a folder that holds a folder of files for each kind.
        file_length: sequences in each file.
    """

    def __init__(self, folder: Path, file_length: int = FILE_LENGTH) -> None:
        self._folder = folder
        self._file_length = file_length

    def lengths(self, kinds: Items[str]) -> Mapping[str, int]:
        """Return the number of sequences of each kind.

        Raises:
            SystemExit: there are none of a kind.
        """
        lengths = {kind: self._file_length * len(_files(self._folder / kind)) for kind in kinds}
        if missing := [kind for kind, length in lengths.items() if length == 0]:
            raise SystemExit(f"{self._folder} has no sequences of the kinds {', '.join(missing)}")
        return lengths

    def sequence(self, kind: str, number: int) -> tuple[Sequence, int]:
        """Return a sequence and its noise level."""
        index, place = divmod(number, self._file_length)
        file = _opened(self._folder / kind / f"{index:04}.safetensors")
        parts = {field.name: file.get_slice(field.name)[place] for field in fields(Sequence)}
        return Sequence(**parts), int(file.get_slice("level")[place])


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


@lru_cache(maxsize=4096)
def _opened(path: Path) -> Any:
    return safe_open(path, "pt")


def make_file(
    path: Path,
    photos: Items[Photo],
    kind: str,
    seed: Items[int],
    length: int = FILE_LENGTH,
    side: int = SIDE,
) -> None:
    """Make a file of sequences, each a function of the photographs, the kind and the seed."""
    levels, sequences = [], []
    for place in range(length):
        rng = np.random.default_rng((*seed, place))
        levels.append(draw_level(kind, rng))
        sequences.append(make_sequence(photos, kind, levels[-1], rng, side))
    tensors = {
        field.name: torch.stack([getattr(each, field.name) for each in sequences])
        for field in fields(Sequence)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors | {"level": torch.tensor(levels)}, partial)
    partial.replace(path)


def load_photos(folder: Path) -> dict[str, Photo]:
    """Return the pictures (*.jpg) below a folder by their paths in it."""
    return {
        str(path.relative_to(folder)): np.asarray(Image.open(path).convert("RGB"))
        for path in sorted(folder.rglob("*.jpg"))
    }


def main() -> None:
    """Make the files of one kind, for training or held out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--kind", choices=[CLEAN, *KINDS], required=True)
    parser.add_argument("--files", type=int, required=True, help=f"files of {FILE_LENGTH} sequences")
    parser.add_argument("--start", type=int, default=0, help="number of the first file")
    parser.add_argument("--side", type=int, default=SIDE, help="of the frames, in low-resolution pixels")
    parser.add_argument("--held-out", action="store_true", help="use the photographs that nothing trains on")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    photos = load_photos(arguments.photos)
    held_out = {path for paths in HELD_OUT.values() for path in paths}
    wanted = set(HELD_OUT["photographs"]) if arguments.held_out else set(photos) - held_out
    chosen = [photo for path, photo in photos.items() if path in wanted]
    for index in range(arguments.start, arguments.files):
        path = arguments.pool / arguments.kind / f"{index:04}.safetensors"
        if not path.exists():
            seed = int(arguments.held_out), [CLEAN, *KINDS].index(arguments.kind), index
            make_file(path, chosen, arguments.kind, seed, side=arguments.side)
            print(path, flush=True)


if __name__ == "__main__":
    main()
