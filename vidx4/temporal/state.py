"""What is passed from one batch of frames to the next of its shot."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

import torch
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

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by their names in a file."""
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
        return tensors

    def save(self, path: Path) -> None:
        """Write the state to a file; equal states give equal bytes."""
        path.write_bytes(save({key: tensor.cpu().contiguous() for key, tensor in self.tensors.items()}))

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
