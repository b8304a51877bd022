"""What the state of a shot has to hold, so that a model can continue from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load
from torch import Tensor

from vidx4.frames import SCALE
from vidx4.temporal.noise import NoiseSpec
from vidx4.temporal.state import Tiles

_MAX_BYTES_PER_PIXEL = 1 << 14
"""Most bytes of a file for each low-resolution pixel: far more than latents of 100 steps take."""
_NAMES = {
    "U8": torch.uint8,
    "U16": torch.uint16,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
}
"""Types of tensors by their names in a file."""
_TILES = tuple(f"tiles.{name}" for name in Tiles._fields)


@dataclass(frozen=True)
class Shape:
    """The type and the sides of a tensor."""

    dtype: torch.dtype
    sides: tuple[int, ...]

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')} {self.sides}"


@dataclass(frozen=True)
class StateSpec:
    """What a model with its settings leaves after a frame."""

    noise: tuple[NoiseSpec, ...]
    """The noise of a frame."""
    has_particles: bool
    """Whether it consists of particles."""
    latents: tuple[int, int] | None
    """Numbers of tied steps and of the channels of latents; None if no step is tied."""
    hidden: int | None
    """Channels of the hidden state; None if there is none."""
    has_raw: bool
    """Whether the frame as the model decoded it is kept."""
    dtype: torch.dtype
    """The model's type."""
    size_multiple: int
    """Number of which both sides of a padded frame are multiples."""

    def difference(self, tensors: Mapping[str, Tensor], width: int, height: int, pixels: torch.dtype) -> str:
        """Return in what tensors differ from those of a state, in a few words; empty if in nothing.

        Args:
            tensors: tensors by their names; see `ShotState.tensors`.
            width: the width of a frame in low-resolution pixels.
            height: its height.
            pixels: the type of a frame's pixels.
        """
        found = {name: Shape(each.dtype, tuple(each.shape)) for name, each in tensors.items()}
        return self._difference(found, width, height, pixels)

    def is_state(self, path: Path, width: int, height: int, pixels: torch.dtype) -> bool:
        """Return whether a file holds a state for frames of a size, with numbers that it can hold.

        Args:
            path: a regular file of whatever origin.
            width: the width of a frame in low-resolution pixels.
            height: its height.
            pixels: the type of a frame's pixels.
        """
        found = read_shapes(path, width, height)
        if found is None or self._difference(found, width, height, pixels):
            return False
        tensors = load(path.read_bytes())
        numbers = (each for each in tensors.values() if each.is_floating_point())
        return all(bool(each.isfinite().all()) for each in numbers) and self._are_within(
            tensors, width, height
        )

    def _are_within(self, tensors: Mapping[str, Tensor], width: int, height: int) -> bool:
        """Return whether all particles are in the picture, and stand for some."""
        if not self.has_particles:
            return True
        places, (padded_height, padded_width) = tensors["particles.places"], self._padded(width, height)
        bounds = torch.tensor([[padded_width], [padded_height]])
        return bool(((places >= 0) & (places < bounds)).all() and (tensors["particles.weights"] > 0).all())

    def _difference(self, found: Mapping[str, Shape], width: int, height: int, pixels: torch.dtype) -> str:
        wanted = self._wanted(found, width, height, pixels)
        # Tiles may have come later, where memory ran out, and with whole frames they have no effect.
        allowed = wanted.keys() | (_TILES if all(name in found for name in _TILES) else set())
        if lacking := sorted(wanted.keys() - found.keys()):
            return f"{lacking[0]} is missing"
        if surplus := sorted(found.keys() - allowed):
            return f"there is {surplus[0]}, which it does not have"
        for name, shape in wanted.items():
            if found[name] != shape:
                return f"{name} is {found[name]} instead of {shape}"
        return self._difference_of_tiles(found, width, height) if allowed != wanted.keys() else ""

    def _wanted(
        self, found: Mapping[str, Shape], width: int, height: int, pixels: torch.dtype
    ) -> dict[str, Shape]:
        """Return the shapes of all tensors but those of tiles, for as many particles as are found."""
        size = self._padded(width, height)
        enlarged = tuple(SCALE * side for side in size)
        shapes = {
            "low_res": Shape(pixels, (3, *size)),
            "upscaled": Shape(pixels, (3, SCALE * height, SCALE * width)),
        }
        for spec in self.noise:
            sides = (spec.grid * side for side in size)
            shapes[f"noise.{spec.role}"] = Shape(torch.float32, (spec.channels, *sides))
        if self.latents is not None:
            shapes["latents"] = Shape(torch.float32, (*self.latents, *size))
        if self.hidden is not None:
            shapes["hidden"] = Shape(self.dtype, (self.hidden, *size))
        if self.has_raw:
            shapes["raw"] = Shape(self.dtype, (3, *enlarged))
        return shapes | self._particles(found, *size)

    def _particles(self, found: Mapping[str, Shape], height: int, width: int) -> dict[str, Shape]:
        if not self.has_particles:
            return {}
        weights = found.get("particles.weights")
        # No cell is without one.
        least = max(spec.grid for spec in self.noise) ** 2 * height * width
        number = least if weights is None or not weights.sides else max(least, weights.sides[0])
        channels = sum(spec.channels for spec in self.noise)
        sides = {"places": (2, number), "values": (channels, number), "weights": (number,)}
        return {f"particles.{name}": Shape(torch.float32, each) for name, each in sides.items()}

    def _difference_of_tiles(self, found: Mapping[str, Shape], width: int, height: int) -> str:
        pixels, latents, hidden = (found[name] for name in _TILES)
        if len(pixels.sides) != 4 or not pixels.sides[0]:
            return f"tiles.pixels is {pixels}"
        number, *size = pixels.sides[0], *(side // SCALE for side in pixels.sides[2:])
        fits = all(each <= side for each, side in zip(size, self._padded(width, height), strict=True))
        if not fits or pixels != Shape(torch.float32, (number, 3, *(SCALE * side for side in size))):
            return f"tiles.pixels is {pixels}"
        own = (number, *self.latents, *size) if self.latents is not None else (number, 0)
        if latents != Shape(torch.float32, own):
            return f"tiles.latents is {latents}"
        own = (number, self.hidden, *size) if self.hidden is not None else (number, 0)
        if hidden.sides != own or (self.hidden is not None and hidden.dtype != self.dtype):
            return f"tiles.hidden is {hidden}"
        return ""

    def _padded(self, width: int, height: int) -> tuple[int, int]:
        return height + -height % self.size_multiple, width + -width % self.size_multiple


def read_shapes(path: Path, width: int, height: int) -> dict[str, Shape] | None:
    """Return the shapes of the tensors in a file by their names; None if it is no state for frames of a size.

    Args:
        path: a regular file of whatever origin.
        width: the width of a frame in low-resolution pixels.
        height: its height.
    """
    if path.stat().st_size > _MAX_BYTES_PER_PIXEL * max(width * height, 1 << 12):
        return None
    try:
        with safe_open(path, "pt") as file:
            found = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118, it is no mapping
            return {
                name: Shape(_NAMES[each.get_dtype()], tuple(each.get_shape())) for name, each in found.items()
            }
    except (SafetensorError, OSError, ValueError, KeyError):
        return None
