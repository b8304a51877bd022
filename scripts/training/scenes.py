"""Make sequences from photographs with known motion: pans, zooms, rotations, moving objects."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

Photo = np.ndarray
"""RGB, uint8, (H, W, 3)."""
MAX_SPEED = 14.0
"""Speed in pixels of the truth per frame."""


@dataclass(frozen=True)
class Path2D:
    """The path of a camera over a photograph: frame number -> matrix from frame to photograph."""

    center: np.ndarray
    """Point of the photograph in the middle of frame 0, x then y."""
    velocity: np.ndarray
    """Velocity in pixels per frame."""
    turn: float = 0.0
    """Rotation in radians per frame."""
    zoom: float = 0.0
    """Logarithm of the change of scale per frame."""

    @property
    def is_exact(self) -> bool:
        """Whether pixels fall on pixels, so that nothing is interpolated."""
        return self.turn == self.zoom == 0 and not (self.velocity % 1).any()

    def matrix(self, time: float, size: int) -> np.ndarray:
        """Return the affine matrix from pixels of a frame to those of the photograph, (2, 3)."""
        scale = np.exp(self.zoom * time)
        cos, sin = scale * np.cos(self.turn * time), scale * np.sin(self.turn * time)
        linear = np.array([[cos, -sin], [sin, cos]])
        middle = np.full(2, (size - 1) / 2)
        shift = self.center + self.velocity * time - linear @ middle
        return np.column_stack([linear, shift])

    def view(self, photo: Photo, time: float, size: int) -> np.ndarray:
        """Return the view of a photograph, (size, size, 3); beyond its edges it is mirrored."""
        kernel = cv2.INTER_NEAREST if self.is_exact else cv2.INTER_LANCZOS4
        seen: np.ndarray = cv2.warpAffine(
            photo,
            self.matrix(time, size),
            (size, size),
            flags=kernel | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        return seen


def make_scene(
    choose: Callable[[], Photo], rng: np.random.Generator, num_frames: int, size: int
) -> np.ndarray:
    """Make a sequence, uint8, (T, size, size, 3).

    Args:
        choose: returns a photograph at random.
        rng: the generator whose state decides the scene.
        num_frames: length of the sequence.
        size: width and height of a frame.
    """
    layers = [_Layer.background(choose(), rng, num_frames, size)]
    for _ in range(int(rng.choice(3, p=[0.6, 0.3, 0.1]))):
        layers.append(_Layer.moving_object(choose(), rng, num_frames, size))
    frames = np.stack([_composed(layers, time, size) for time in range(num_frames)])
    return _lit(frames, rng) if rng.random() < 0.1 else frames


@dataclass(frozen=True)
class _Layer:
    photo: Photo
    path: Path2D
    outline: np.ndarray | None
    """Outline of the visible part, as radii at equal angles; None if all of it is visible."""

    @classmethod
    def background(cls, photo: Photo, rng: np.random.Generator, num_frames: int, size: int) -> "_Layer":
        return cls(photo, _random_path(photo, rng, num_frames, size), None)

    @classmethod
    def moving_object(cls, photo: Photo, rng: np.random.Generator, num_frames: int, size: int) -> "_Layer":
        radii = rng.uniform(0.4, 1, 8) * rng.uniform(0.08, 0.3) * size
        return cls(photo, _random_path(photo, rng, num_frames, size), radii)

    def mask(self, time: float, size: int, place: np.ndarray) -> np.ndarray:
        """Return the coverage of the frame by the layer, 0 to 1, (size, size, 1)."""
        assert self.outline is not None
        angles = np.arange(len(self.outline)) * (2 * np.pi / len(self.outline))
        corners = place + np.column_stack([np.cos(angles), np.sin(angles)]) * self.outline[:, None]
        mask = np.zeros((size, size), np.uint8)
        cv2.fillPoly(mask, [np.round(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        return mask[..., None] / np.float32(255)


def _random_path(photo: Photo, rng: np.random.Generator, num_frames: int, size: int) -> Path2D:
    sides = np.array(photo.shape[1::-1])
    speed = MAX_SPEED * rng.random() ** 2
    direction = rng.uniform(0, 2 * np.pi)
    velocity = speed * np.array([np.cos(direction), np.sin(direction)])
    kind = rng.random()
    if kind < 0.6:  # whole pixels, or none: nothing is interpolated, so the truth is sharp
        velocity = np.zeros(2) if kind < 0.12 else np.round(velocity)
        turn = zoom = 0.0
    else:
        turn, zoom = rng.normal(0, 0.008, 2)
    travel = np.abs(velocity) * (num_frames - 1)
    room = np.maximum(sides - size - travel, 0)
    start = rng.integers(0, room.astype(int) + 1) + np.where(velocity < 0, travel, 0)
    return Path2D(np.floor(start) + (size - 1) / 2, velocity, turn, zoom)


def _composed(layers: Sequence[_Layer], time: float, size: int) -> np.ndarray:
    frame = layers[0].path.view(layers[0].photo, time, size)
    for number, layer in enumerate(layers[1:]):
        # An object moves over the frame as its photograph moves past, so that both move as one.
        start = np.array([0.3, 0.6]) * size if number == 0 else np.array([0.65, 0.35]) * size
        mask = layer.mask(time, size, start - layer.path.velocity * time)
        seen = layer.path.view(layer.photo, time, size)
        frame = np.round(frame + mask * (seen.astype(np.float32) - frame)).astype(np.uint8)
    return frame


def _lit(frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change the brightness from frame to frame, as fades and flickering lamps do."""
    gain = np.cumprod(rng.normal(1, 0.03, len(frames))).reshape(-1, 1, 1, 1)
    lit: np.ndarray = np.round(frames * gain).clip(0, 255).astype(np.uint8)
    return lit
