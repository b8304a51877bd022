"""Moving noise remains white, follows the picture, and doesn't change a bit where the picture is still."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.moving import affine_motion, rotation
from vidx4.temporal.motion import Motion
from vidx4.temporal.noise import NoiseSpec, Role, noise_field
from vidx4.temporal.particles import CROWD, MovingNoise, Particles

HEIGHT, WIDTH = 72, 96
LOW_RES, LATENTS = NoiseSpec(Role.LOW_RES, 3), NoiseSpec(Role.LATENTS, 4)
FINE_LATENTS = NoiseSpec(Role.LATENTS, 3, grid=4)

MOTIONS = {
    "still": affine_motion(HEIGHT, WIDTH, np.eye(2), (0, 0)),
    "pan": affine_motion(HEIGHT, WIDTH, np.eye(2), (1.37, 0.61)),
    "slow pan": affine_motion(HEIGHT, WIDTH, np.eye(2), (0.13, -0.07)),
    "zoom in": affine_motion(HEIGHT, WIDTH, 1.03 * np.eye(2), (0, 0)),
    "zoom out": affine_motion(HEIGHT, WIDTH, 0.97 * np.eye(2), (0, 0)),
    "rotation": affine_motion(HEIGHT, WIDTH, rotation(0.04), (0, 0)),
}


def occlusion() -> Motion:
    """Return a right half that moves over the left one, which is still and gets covered."""
    motion = affine_motion(HEIGHT, WIDTH, np.eye(2), (0, 0))
    motion.forward[0, :, WIDTH // 2 :] = -2.0
    motion.forward_trust[:, WIDTH // 2 - 2 : WIDTH // 2] = 0
    return motion


def carried(specs: Sequence[NoiseSpec], motion: Motion, num_frames: int) -> tuple[MovingNoise, Particles]:
    moving = MovingNoise(5, specs, HEIGHT, WIDTH)
    particles = moving.start()
    for pts in range(1, num_frames):
        particles = moving.move(particles, motion, pts)
    return moving, particles


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


@pytest.mark.parametrize("latents", [LATENTS, FINE_LATENTS], ids=["coarse", "fine"])
@pytest.mark.parametrize("motion", [*MOTIONS, "occlusion"])
def test_noise_remains_white(motion: str, latents: NoiseSpec) -> None:
    """Bounds are five standard errors of the smallest field."""
    specs = (LOW_RES, latents)
    moving, particles = carried(specs, MOTIONS.get(motion) or occlusion(), num_frames=12)
    for spec, field in zip(specs, moving.fields(particles).values(), strict=True):
        assert field.shape == (spec.channels, spec.grid * HEIGHT, spec.grid * WIDTH)
        assert abs(float(field.mean())) < 0.035
        assert abs(float(field.var()) - 1) < 0.05
        assert abs(float((field**4).mean() / field.var() ** 2) - 3) < 0.17
        for shift in ((0, 1), (1, 0), (1, 1)):
            assert abs(correlation(field, field.roll(shift, dims=(1, 2)))) < 0.035
        assert abs(correlation(field[0], field[1])) < 0.06


@pytest.mark.parametrize("shift", [(2, 1), (-3, 0)])
def test_a_pan_by_whole_pixels_is_followed_exactly(shift: tuple[int, int]) -> None:
    moving = MovingNoise(5, (LOW_RES, FINE_LATENTS), HEIGHT, WIDTH)
    first = moving.start()
    second = moving.move(first, affine_motion(HEIGHT, WIDTH, np.eye(2), shift), pts=1)
    for spec in moving.specs:
        before, after = (moving.fields(particles)[spec.role] for particles in (first, second))
        dx, dy = (spec.grid * side for side in shift)
        kept = after.roll((-dy, -dx), dims=(1, 2))[:, 16:-16, 16:-16]
        torch.testing.assert_close(kept, before[:, 16:-16, 16:-16], rtol=0, atol=1e-6)


def test_half_a_pixel_is_followed_as_far_as_white_noise_can() -> None:
    """Unit cells of white noise moved by (a, b) share (1 - a)(1 - b) of their area with the nearest one."""
    moving = MovingNoise(5, (LATENTS,), HEIGHT, WIDTH)
    first = moving.start()
    second = moving.move(first, affine_motion(HEIGHT, WIDTH, np.eye(2), (0.5, 0.0)), pts=1)
    before, after = (moving.fields(particles)[Role.LATENTS] for particles in (first, second))
    assert correlation(before[:, :, 4:-4], after[:, :, 4:-4]) == pytest.approx(0.5, abs=0.05)


def test_noise_of_still_areas_does_not_change() -> None:
    moving = MovingNoise(5, (LOW_RES, FINE_LATENTS), HEIGHT, WIDTH)
    motion = affine_motion(HEIGHT, WIDTH, np.eye(2), (0, 0))
    motion.forward[:, 20:40, 30:60] = 1.7
    first = moving.start()
    second = moving.move(first, motion, pts=1)
    for role, grid in ((Role.LOW_RES, 1), (Role.LATENTS, 4)):
        before, after = (moving.fields(particles)[role] for particles in (first, second))
        rows = slice(19 * grid)  # motion is interpolated, so it reaches half a pixel further
        assert torch.equal(before[:, rows], after[:, rows])
        assert not torch.equal(before, after)


def test_occluded_and_new_areas_are_seeded_again() -> None:
    moving = MovingNoise(5, (LATENTS,), HEIGHT, WIDTH)
    motion = affine_motion(HEIGHT, WIDTH, np.eye(2), (0, 0))
    motion.forward_trust[10:30, 10:50] = 0
    first = moving.start()
    second = moving.move(first, motion, pts=1)
    before, after = (moving.fields(particles)[Role.LATENTS] for particles in (first, second))
    assert abs(correlation(before[:, 10:30, 10:50], after[:, 10:30, 10:50])) < 0.08
    again = moving.fields(moving.move(first, motion, pts=1))[Role.LATENTS]
    other = moving.fields(moving.move(first, motion, pts=2))[Role.LATENTS]
    assert torch.equal(after, again)
    assert not torch.equal(after, other)


def test_merging_crowded_particles_does_not_change_the_noise() -> None:
    moving = MovingNoise(5, (LOW_RES, FINE_LATENTS), HEIGHT, WIDTH)
    particles = moving.start()
    crowd = Particles(
        torch.rand(2, 4000, generator=torch.Generator().manual_seed(0)) * 3 + 8,
        noise_field(1, Role.LATENTS, 6, 4000, 1)[..., 0],
        torch.ones(4000),
    )
    particles = particles.joined(crowd)
    merged = moving.move(particles, MOTIONS["still"], pts=1)
    assert len(merged.weights) < len(particles.weights) - 3500
    assert merged.weights.sum() == particles.weights.sum()
    for role, field in moving.fields(particles).items():
        torch.testing.assert_close(moving.fields(merged)[role], field, rtol=0, atol=1e-5)


def test_memory_is_bounded_whatever_the_zoom() -> None:
    moving, particles = carried((LATENTS,), affine_motion(HEIGHT, WIDTH, 0.8 * np.eye(2), (0, 0)), 30)
    assert len(particles.weights) <= CROWD * moving.density**2 * HEIGHT * WIDTH
    assert len(particles.weights) < 4 * len(moving.start().weights)
