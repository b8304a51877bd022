"""Noise that moves with the picture and remains white."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from vidx4.temporal.motion import Motion
from vidx4.temporal.noise import NoiseSpec, Role, noise_field

DENSITY = 2
"""Least number of particles per low-resolution pixel along each side; four times as many are no better."""
CROWD = 4
"""In a pixel that holds more than so many times its share of particles, they are merged."""

_COLUMNS = 4096
"""Particles per row of the map given to `cv2.remap`, which takes less than 32768 rows and columns."""


@dataclass(frozen=True)
class Particles:
    """Pieces of noise at positions in the picture; float32 on the CPU."""

    places: Tensor
    """In low-resolution pixels from the top left corner, x then y, (2, P)."""
    values: Tensor
    """Standard normal values, one per channel, (C, P)."""
    weights: Tensor
    """Number of seeded particles that each one stands for, (P,)."""

    def chosen(self, keep: np.ndarray) -> "Particles":
        """Return the particles that a mask selects, in order."""
        chosen = torch.from_numpy(keep)
        return Particles(self.places[:, chosen], self.values[:, chosen], self.weights[chosen])

    def joined(self, others: "Particles") -> "Particles":
        """Return these particles followed by others."""
        return Particles(
            torch.cat([self.places, others.places], dim=1),
            torch.cat([self.values, others.values], dim=1),
            torch.cat([self.weights, others.weights]),
        )


class MovingNoise:
    """Seeds particles, moves them with the picture, and turns them into noise fields.

    Every particle carries standard normal values, one per channel, along with the spot of the picture in
    which it was seeded. A cell's noise is the sum of its particles over the root of their number. As each
    particle lies in exactly one cell, cells remain independent and of unit variance whatever the motion:
    nothing is interpolated. Moving all noise like this, and drawing fresh noise where the picture is new, is
    the contraction rule of Deng et al. 2024 ("Infinite-Resolution Integral Noise Warping") without their
    bridges.

    Args:
        seed: the user's seed.
        specs: the noise fields that the model needs.
        height: number of rows of a frame.
        width: number of columns of a frame.
    """

    def __init__(self, seed: int, specs: Sequence[NoiseSpec], height: int, width: int) -> None:
        self.seed, self.specs = seed, tuple(specs)
        self.height, self.width = height, width
        self.finest = max(spec.grid for spec in specs)
        self.density = self.finest * -(-DENSITY // self.finest)

    def start(self) -> Particles:
        """Return the particles of the first frame of a shot."""
        return self._seed(np.ones((self.finest * self.height, self.finest * self.width), bool), pts=None)

    def move(self, particles: Particles, motion: Motion, pts: int) -> Particles:
        """Move particles to the frame at `pts`.

        Particles that leave the frame or are occluded are removed; empty cells are seeded again.
        """
        moved = self._moved(particles, motion)
        moved = self._merged(moved)
        empty = self._counts(moved, self.finest) == 0
        if not empty.any():
            return moved
        empty = empty.reshape(self.finest * self.height, self.finest * self.width)
        return moved.joined(self._seed(empty, pts))

    def fields(self, particles: Particles) -> dict[Role, Tensor]:
        """Return the noise by role, float32, (channels, grid H, grid W)."""
        channels = [spec.channels for spec in self.specs]
        roots = np.sqrt(particles.weights.numpy())
        shares = iter(particles.values.numpy() * roots)
        return {
            spec.role: self._field(spec, particles, [next(shares) for _ in range(count)])
            for spec, count in zip(self.specs, channels, strict=True)
        }

    def _field(self, spec: NoiseSpec, particles: Particles, shares: list[np.ndarray]) -> Tensor:
        cells, size = self._cells(particles, spec.grid)
        roots = np.sqrt(np.bincount(cells, particles.weights.numpy(), size))
        sums = [np.bincount(cells, share, size) / roots for share in shares]
        field = np.stack(sums).astype(np.float32)
        return torch.from_numpy(field).view(-1, spec.grid * self.height, spec.grid * self.width)

    def _seed(self, empty: np.ndarray, pts: int | None) -> Particles:
        """Return new particles in the cells of a mask on the finest grid."""
        # All are drawn for the whole frame, so that a particle depends on its position, and not on the mask.
        height, width = self.density * self.height, self.density * self.width
        per_cell = self.density // self.finest
        y, x = np.nonzero(empty.repeat(per_cell, axis=0).repeat(per_cell, axis=1))
        fields = [noise_field(self.seed, spec.role, spec.channels, height, width, pts) for spec in self.specs]
        values = torch.cat(fields)[:, torch.from_numpy(y), torch.from_numpy(x)]
        places = (torch.from_numpy(np.stack([x, y])) + 0.5) / self.density
        return Particles(places.float(), values, torch.ones(len(x)))

    def _moved(self, particles: Particles, motion: Motion) -> Particles:
        x, y = particles.places.numpy()
        seen = motion.forward_trust.numpy()[y.astype(np.int64), x.astype(np.int64)] > 0
        places = particles.places + torch.from_numpy(_sampled(motion.forward, x, y))
        x, y = places.numpy()
        inside = (x >= 0) & (y >= 0) & (x < self.width) & (y < self.height)
        return replace(particles, places=places).chosen(seen & inside)

    def _merged(self, particles: Particles) -> Particles:
        """Merge the particles of crowded pixels that share a cell of the seeding grid.

        A merged particle's values are chosen so that no cell's noise changes.
        """
        pixels, _ = self._cells(particles, grid=1)
        crowded = (self._counts(particles, grid=1) > CROWD * self.density**2)[pixels]
        if not crowded.any():
            return particles
        cells, _ = self._cells(particles.chosen(crowded), self.density)
        return particles.chosen(~crowded).joined(_fused(particles.chosen(crowded), cells))

    def _counts(self, particles: Particles, grid: int) -> np.ndarray:
        cells, size = self._cells(particles, grid)
        return np.bincount(cells, minlength=size)

    def _cells(self, particles: Particles, grid: int) -> tuple[np.ndarray, int]:
        """Return the index of each particle's cell on a grid, and the number of cells."""
        x, y = (particles.places * grid).numpy().astype(np.int64)
        return y * (grid * self.width) + x, grid * grid * self.height * self.width


def _fused(particles: Particles, cells: np.ndarray) -> Particles:
    """Replace the particles of each cell by one at their mean position."""
    _, groups = np.unique(cells, return_inverse=True)
    weights = particles.weights.numpy()
    total = np.bincount(groups, weights)

    def summed(rows: Tensor, factors: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(groups, row * factors) for row in rows.numpy()])

    places = summed(particles.places, weights) / total
    values = summed(particles.values, np.sqrt(weights)) / np.sqrt(total)
    parts = (torch.from_numpy(part.astype(np.float32)) for part in (places, values, total))
    return Particles(*parts)


def _sampled(flow: Tensor, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return a flow at positions, (2, P), interpolated bilinearly between pixel centres."""
    picture = np.ascontiguousarray(flow.permute(1, 2, 0).numpy())
    padding = -len(x) % _COLUMNS
    map_x, map_y = (np.pad(places - 0.5, (0, padding)).reshape(-1, _COLUMNS) for places in (x, y))
    sampled = cv2.remap(picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(sampled.reshape(-1, 2)[: len(x)].T)
