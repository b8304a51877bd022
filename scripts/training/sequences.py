"""A pool of short sequences, made once and kept on disk: truth, its low resolution, and the motion."""

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from scripts.training.config import Config
from scripts.training.degrade import SCALE, degrade, reduce
from scripts.training.scenes import Photo, make_scene
from vidx4.temporal.motion import estimate_motion

NUM_VALIDATION = 16
"""Number of photographs held out for validation."""


@dataclass(frozen=True)
class Frame:
    """One frame of a sequence, with the frame before and the motion from it; pixels are uint8."""

    truth: Tensor
    """The frame at full resolution, (3, 4H, 4W)."""
    previous_truth: Tensor
    """Truth of the frame before; the first frame's own."""
    low_res: Tensor
    """The frame at low resolution, (3, H, W)."""
    flow: Tensor
    """Offset of each pixel to its place in the frame before, x then y, float16, (2, H, W)."""
    trust: Tensor
    """Trust in the motion, 0 to 1, float16, (H, W); 0 in the first frame."""

    def turned(self, way: int) -> "Frame":
        """Return the frame rotated and mirrored in one of eight ways."""
        fields = dict(vars(self))
        for bit, dims in ((1, [-1]), (2, [-2])):
            if way & bit:
                fields = {name: field.flip(dims) for name, field in fields.items()}
                x, y = fields["flow"]
                fields["flow"] = torch.stack([-x, y] if bit == 1 else [x, -y])
        if way & 4:
            fields = {name: field.transpose(-1, -2) for name, field in fields.items()}
            fields["flow"] = fields["flow"].flip(0)
        return Frame(**{name: field.contiguous() for name, field in fields.items()})


class Pool:
    """Sequences by number; each is a function of the configuration, and made on first use.

    Args:
        photos: photographs to make them from.
        config: settings of the run.
        cache: folder in which sequences are kept.
    """

    def __init__(self, photos: Sequence[Photo], config: Config, cache: Path) -> None:
        self._photos = photos
        self._config = config
        made_by = config.pool_seed, config.side, config.num_frames, config.clean_share, config.max_noise_level
        self._folder = cache / "-".join(map(str, made_by))

    def level(self, number: int) -> int:
        """Return the noise level of a sequence."""
        rng = np.random.default_rng((self._config.pool_seed, number, 0))
        if rng.random() < self._config.clean_share:
            return 0
        return 1 + int(rng.random() * self._config.max_noise_level)

    def frame(self, number: int, index: int) -> Frame:
        """Return one frame of a sequence."""
        path = self._folder / f"{number // 1000:03}" / f"{number % 1000:03}.safetensors"
        if not path.exists():
            self._make(number, path)
        with safe_open(path, "pt") as file:

            def take(name: str, place: int) -> Tensor:
                tensor: Tensor = file.get_slice(name)[place]
                return tensor

            return Frame(
                take("truth", index),
                take("truth", max(index - 1, 0)),
                take("low_res", index),
                take("flow", index),
                take("trust", index),
            )

    def _make(self, number: int, path: Path) -> None:
        rng = np.random.default_rng((self._config.pool_seed, number, 1))
        truth, low_res = self._pictures(rng, self.level(number))
        motions = [estimate_motion(a, b, (a == b).all(dim=0)) for a, b in itertools.pairwise(low_res)]
        still = torch.zeros(2, *low_res.shape[2:])
        tensors = {
            "truth": truth,
            "low_res": low_res,
            "flow": torch.stack([still, *(motion.backward for motion in motions)]).half(),
            "trust": torch.stack([still[0], *(motion.backward_trust for motion in motions)]).half(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        save_file(tensors, partial)
        partial.replace(path)

    def _pictures(self, rng: np.random.Generator, level: int) -> tuple[Tensor, Tensor]:
        config = self._config
        truth = make_scene(
            lambda: self._photos[int(rng.integers(len(self._photos)))],
            rng,
            config.num_frames,
            SCALE * config.side,
        )
        low_res = degrade(truth, level / config.max_noise_level, rng) if level else reduce(truth)
        return _to_tensor(truth), _to_tensor(low_res)


def load_photos(folder: Path) -> tuple[list[Photo], list[Photo]]:
    """Return the photographs (*.jpg) below a folder: those for training, and those for validation."""
    paths = sorted(folder.rglob("*.jpg"))
    if len(paths) <= NUM_VALIDATION:
        raise SystemExit(f"too few photographs (*.jpg) in {folder}")
    held_out = set(paths[:: len(paths) // NUM_VALIDATION][:NUM_VALIDATION])
    photos = {path: np.asarray(Image.open(path).convert("RGB")) for path in paths}
    return (
        [photo for path, photo in photos.items() if path not in held_out],
        [photos[path] for path in sorted(held_out)],
    )


def _to_tensor(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))
