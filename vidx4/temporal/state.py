"""What is passed from one batch of frames to the next of its shot."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from vidx4.frames import SCALE, Box, FrameBatch
from vidx4.temporal.follow import Followed
from vidx4.temporal.noise import Role
from vidx4.temporal.particles import Particles
from vidx4.transfer import Download


class Tiles(NamedTuple):
    """The tiles of a frame; what a model does not have, or later frames do not need, is empty."""

    pixels: Tensor
    """Pixels before they are finished, (T, 3, 4h, 4w)."""
    latents: Tensor
    """Clean latents in the steps that are tied, (T, S, C, h, w)."""
    hidden: Tensor
    """Hidden states, in the model's type, (T, D, h, w)."""


@dataclass(frozen=True)
class ShotState:
    """The last enlarged frame, and everything else that later frames of the shot depend on.

    A shot that resumes from its state gives the same frames as one that was never interrupted.
    """

    last: Followed
    """The last frame."""
    upscaled: Tensor
    """The frame enlarged, in its own type, without padding, on the model's device, (3, 4H, 4W)."""
    latents: Tensor | None = None
    """Clean latents of the frame in the steps that are tied, (S, C, H, W)."""
    hidden: Tensor | None = None
    """Hidden state of the model after the frame, in the model's type, (D, H, W); None if it keeps none."""
    tiles: Tiles | None = None
    """The frame's tiles; None for whole frames."""
    raw: Tensor | None = None
    """The frame as the model decoded it, with its padding, neither clamped nor finished, about [-1, 1], in
    the model's type, (3, 4H, 4W); None if the model isn't shown it."""
    share_reused: float = 0.0
    """Share of the frame's work that was reused from earlier frames. Not saved: no frame depends on it."""

    def in_type(self, dtype: torch.dtype) -> Self:
        """Return the state with what is in the model's type in another type."""
        hidden, raw = (None if each is None else each.to(dtype) for each in (self.hidden, self.raw))
        tiles = None if self.tiles is None else self.tiles._replace(hidden=self.tiles.hidden.to(dtype))
        return replace(self, hidden=hidden, tiles=tiles, raw=raw)

    def save(self, path: Path) -> None:
        """Write the state to a file; equal states give equal bytes."""
        tensors = {
            "low_res": self.last.low_res,
            "upscaled": self.upscaled,
            **{f"noise.{role}": field for role, field in self.last.noise.items()},
        }
        if self.last.particles is not None:
            tensors |= {f"particles.{key}": value for key, value in vars(self.last.particles).items()}
        made = {"latents": self.latents, "hidden": self.hidden, "raw": self.raw}
        tensors |= {key: value for key, value in made.items() if value is not None}
        if self.tiles is not None:
            tensors |= {f"tiles.{key}": value for key, value in self.tiles._asdict().items()}
        path.write_bytes(save({key: tensor.cpu().contiguous() for key, tensor in tensors.items()}))

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu") -> Self:
        """Read a state that `save` wrote, and move what the model made to a device."""
        tensors = load(path.read_bytes())  # not mapped: the file may be removed, or its share go away
        tiles = {key: value.to(device) for key, value in _within("tiles", tensors).items()}
        upscaled, latents, hidden, raw = (
            tensors[key].to(device) if key in tensors else None
            for key in ("upscaled", "latents", "hidden", "raw")
        )
        assert upscaled is not None
        particles = _within("particles", tensors)
        noise = {role: tensors[f"noise.{role}"] for role in Role if f"noise.{role}" in tensors}
        height, width = (side // SCALE for side in upscaled.shape[1:])
        visible = Box(0, height, 0, width)
        last = Followed(tensors["low_res"], visible, noise, Particles(**particles) if particles else None)
        return cls(last, upscaled, latents, hidden, Tiles(**tiles) if tiles else None, raw)


_PIXELS = frozenset({"U8", "U16"})
_NUMBERS = frozenset({"BF16", "F16", "F32"})
_SHAPES: Mapping[str, tuple[frozenset[str], int | None]] = {
    "low_res": (_PIXELS, 3),
    "upscaled": (_PIXELS | _NUMBERS, 3),
    "latents": (_NUMBERS, 4),
    "hidden": (_NUMBERS, 3),
    "raw": (_NUMBERS, 3),
    **{f"noise.{role}": (_NUMBERS, 3) for role in Role},
    "particles.places": (_NUMBERS, 2),
    "particles.values": (_NUMBERS, 2),
    "particles.weights": (_NUMBERS, 1),
    **{f"tiles.{key}": (_PIXELS | _NUMBERS, None) for key in Tiles._fields},
}
"""Types and numbers of dimensions of the tensors in a file; None for any number."""
_MAX_BYTES_PER_PIXEL = 1 << 14
"""Most bytes of a file for each low-resolution pixel: far more than latents of 100 steps take."""


def is_state(path: Path, width: int, height: int) -> bool:
    """Return whether a file is like one that `ShotState.save` writes for frames of a size, by its header.

    Args:
        path: a regular file of whatever origin.
        width: the width of a frame in low-resolution pixels.
        height: its height.
    """
    if path.stat().st_size > _MAX_BYTES_PER_PIXEL * max(width * height, 1 << 12):
        return False
    try:
        with safe_open(path, "pt") as file:
            found = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118, it is no mapping
            shapes = {key: tuple(each.get_shape()) for key, each in found.items()}
            types = {key: each.get_dtype() for key, each in found.items()}
    except (SafetensorError, OSError, ValueError):
        return False
    if not {"low_res", "upscaled"} <= found.keys() <= _SHAPES.keys():
        return False
    for key, shape in shapes.items():
        kinds, num_dimensions = _SHAPES[key]
        if types[key] not in kinds or num_dimensions not in (None, len(shape)):
            return False
    return _fit(shapes, width, height)


def _fit(shapes: Mapping[str, tuple[int, ...]], width: int, height: int) -> bool:
    """Return whether the shapes of a state's tensors fit frames of a size, and each other."""
    groups = [[key for key in shapes if key.startswith(f"{group}.")] for group in ("particles", "tiles")]
    counts = [{shapes[key][place] for key in keys} for keys, place in zip(groups, (-1, 0), strict=True)]
    low_res = shapes["low_res"]
    return (
        shapes["upscaled"] == (3, SCALE * height, SCALE * width)
        and low_res[0] == 3
        and low_res[1] >= height
        and low_res[2] >= width
        and shapes.get("raw", _enlarged(low_res)) == _enlarged(low_res)
        and all(len(keys) in (0, 3) for keys in groups)
        and all(len(count) <= 1 for count in counts)
        and shapes.get("particles.places", (2,))[0] == 2
    )


def _enlarged(low_res: tuple[int, ...]) -> tuple[int, ...]:
    return 3, SCALE * low_res[1], SCALE * low_res[2]


def _within(group: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a group, `group.name` each, by their names in it."""
    start = f"{group}."
    return {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}


@dataclass(frozen=True)
class Upscaled:
    """The result of enlarging a batch of frames."""

    batch: FrameBatch
    """The frames, four times larger, at the same pts."""
    state: ShotState | None
    """State for the next batch of the shot; None if it needs none."""
    num_reused: float = 0.0
    """Work that was reused from earlier frames, in frames."""
    download: Download | None = None
    """The way of the frames to the host, if they may not have arrived: until then, `batch` holds anything."""

    def __len__(self) -> int:
        return len(self.batch)

    def arrived(self) -> "Upscaled":
        """Wait until the frames are on the host."""
        if self.download is not None:
            self.download.wait()
        return replace(self, download=None)
