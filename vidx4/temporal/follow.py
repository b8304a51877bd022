"""How a frame relates to the one before it: its noise, its motion, and what is unchanged."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vidx4.frames import Box
from vidx4.temporal.mode import Temporal
from vidx4.temporal.motion import Motion, estimate_motion
from vidx4.temporal.noise import NoiseSpec, Role, noise_field
from vidx4.temporal.particles import MovingNoise, Particles
from vidx4.temporal.reuse import differs, find_unchanged


@dataclass(frozen=True)
class Followed:
    """A frame with what ties it to the frame before it; all on the CPU."""

    low_res: Tensor
    """RGB, uint8 or uint16, (3, H, W); pixels that count as unchanged are copied from the last frame."""
    visible: Box
    """The frame without padding."""
    noise: dict[Role, Tensor]
    """Noise by role, float32, (channels, grid H, grid W)."""
    particles: Particles | None = None
    """Particles that the noise consists of, if it moves with the picture."""
    motion: Motion | None = None
    """Motion from the frame before; None for the first frame of a shot, or if it is not needed."""
    changed: Tensor | None = None
    """Where the frame or its noise differs from the last one's, bool, (H, W); None if nothing ties them."""

    @property
    def is_repeated(self) -> bool:
        """Whether the frame equals the one before it, noise included."""
        return self.changed is not None and not bool(self.changed.any())


@dataclass(frozen=True)
class FollowedBatch:
    """Consecutive followed frames of a shot, ready for the model."""

    frames: Sequence[Followed]
    pts: tuple[int, ...]
    """Presentation time of each frame."""
    warm_up: "FollowedBatch | None" = None
    """What the model sees before them, if they start a shot: the first frame is tied to the last of these."""

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: slice) -> "FollowedBatch":
        return FollowedBatch(self.frames[index], self.pts[index])

    @property
    def last(self) -> Followed:
        """The last frame, to which the next batch is tied."""
        return self.frames[-1]


@dataclass(frozen=True)
class Follower:
    """Ties each frame of a shot to the one before it."""

    temporal: Temporal
    seed: int
    specs: Sequence[NoiseSpec]
    reuse_threshold: float = 0.0
    """Mean difference in 8-bit levels up to which pixels count as equal to the last frame's."""
    wants_motion: bool = True
    """Whether anything other than the noise needs the motion."""
    draws_anew: bool = False
    """Whether every frame has noise of its own, though it is tied to the one before."""

    def follow(self, frame: Tensor, visible: Box, pts: int, last: Followed | None) -> Followed:
        """Tie a frame to the last one of its shot.

        Args:
            frame: RGB, uint8 or uint16, (3, H, W).
            visible: the frame without padding.
            pts: presentation time of the frame.
            last: the frame before; None at the start of a shot.
        """
        if self.temporal is Temporal.OFF:
            return Followed(frame, visible, self._drawn(frame, pts))
        if last is None:
            return self._first(frame, visible, pts)
        unchanged = find_unchanged(last.low_res, frame, self.reuse_threshold)
        # The next frame is compared with these pixels, so that a slow fade can't drift away unnoticed.
        frame = torch.where(unchanged, last.low_res, frame)
        if bool(unchanged.all()):
            return replace(last, low_res=frame, motion=None, changed=~unchanged)
        return self._moved(frame, pts, last, unchanged)

    def _first(self, frame: Tensor, visible: Box, pts: int) -> Followed:
        if self.draws_anew:
            return Followed(frame, visible, self._drawn(frame, pts))
        if self.temporal is Temporal.FIXED or not self.specs:
            return Followed(frame, visible, self._drawn(frame, None))
        moving = self._moving_noise(frame)
        particles = moving.start()
        return Followed(frame, visible, moving.fields(particles), particles)

    def _moved(self, frame: Tensor, pts: int, last: Followed, unchanged: Tensor) -> Followed:
        wants_motion = self.wants_motion or last.particles is not None
        motion = estimate_motion(last.low_res, frame, unchanged) if wants_motion else None
        if self.draws_anew:
            return replace(
                last, low_res=frame, noise=self._drawn(frame, pts), motion=motion, changed=~unchanged
            )
        if last.particles is None or motion is None:
            return replace(last, low_res=frame, motion=motion, changed=~unchanged)
        moving = self._moving_noise(frame)
        particles = moving.move(last.particles, motion, pts)
        noise = moving.fields(particles)
        changed = ~unchanged
        for role, field in noise.items():
            changed |= differs(last.noise[role], field, *frame.shape[1:])
        return Followed(frame, last.visible, noise, particles, motion, changed)

    def _moving_noise(self, frame: Tensor) -> MovingNoise:
        return MovingNoise(self.seed, self.specs, *frame.shape[1:])

    def _drawn(self, frame: Tensor, pts: int | None) -> dict[Role, Tensor]:
        height, width = frame.shape[1:]
        return {
            spec.role: noise_field(
                self.seed, spec.role, spec.channels, spec.grid * height, spec.grid * width, pts
            )
            for spec in self.specs
        }
