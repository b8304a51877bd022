"""Latents follow trusted motion without blur, and are kept where nothing changed."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.moving import affine_motion, pan
from vidx4.frames import Box
from vidx4.temporal.propagation import Link, Propagation
from vidx4.temporal.warp import Warp

CPU = torch.device("cpu")
HEIGHT, WIDTH = 32, 48
WHOLE = Box(0, HEIGHT, 0, WIDTH)


def warp(grid: int, dx: float = 0.0, dy: float = 0.0, trust: float = 1.0) -> Warp:
    motion = affine_motion(HEIGHT, WIDTH, np.eye(2), (dx, dy))
    motion.backward_trust[:] = trust
    return Warp.of(motion, grid, CPU)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


@pytest.mark.parametrize("grid", [1, 4])
def test_motion_by_whole_pixels_is_fetched_exactly(grid: int) -> None:
    field = noise(1, 3, grid * HEIGHT, grid * WIDTH)
    fetched = warp(grid, 3, -2).fetch(field)
    expected = field.roll((-2 * grid, 3 * grid), dims=(2, 3))
    inner = (..., slice(4 * grid, -4 * grid), slice(4 * grid, -4 * grid))
    torch.testing.assert_close(fetched[inner], expected[inner], rtol=0, atol=1e-3)


def test_cubic_interpolation_keeps_twice_the_detail_of_linear() -> None:
    field = noise(1, 4, HEIGHT, WIDTH)
    linear = F.avg_pool2d(field, 2, stride=1)
    assert warp(1, 0.5, 0.5).fetch(field).var() > 2 * linear.var()


def test_features_are_interpolated_linearly() -> None:
    field = noise(1, 4, HEIGHT, WIDTH)
    fetched = warp(1, 0.5, 0.5).fetch_features(field)[..., 1:, 1:]
    torch.testing.assert_close(fetched, F.avg_pool2d(field, 2, stride=1), rtol=0, atol=1e-4)


def test_repeating_moving_and_averaging_is_linear_interpolation() -> None:
    """This is why latents are not warped that way."""
    field = noise(1, 4, HEIGHT, WIDTH)
    fine = F.interpolate(field, scale_factor=4).roll((-2, -2), dims=(2, 3))
    averaged = F.avg_pool2d(fine, 4)[..., :-1, :-1]
    torch.testing.assert_close(averaged, F.avg_pool2d(field, 2, stride=1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("grid", [1, 4])
def test_a_cropped_warp_equals_that_of_the_whole_frame(grid: int) -> None:
    box = Box(8, 24, 12, 40)
    field = noise(1, 3, grid * HEIGHT, grid * WIDTH)
    whole, part = warp(grid, 1.3, 0.4), warp(grid, 1.3, 0.4).cropped(box)
    assert torch.equal(part.fetch(field), whole.fetch(field)[..., *box.scaled(grid).slices])
    assert torch.equal(part.trust, whole.trust[..., *box.scaled(grid).slices])


def test_the_pull_is_the_product_of_strength_and_trust() -> None:
    last, own = noise(48, HEIGHT, WIDTH), noise(1, 48, HEIGHT, WIDTH)
    propagation = Propagation({2: 0.5}, 4, last[None], [Link(WHOLE, warp(4, trust=0.6))])
    torch.testing.assert_close(propagation(2, own), torch.lerp(own, last[None], 0.3), rtol=0, atol=1e-3)
    assert torch.equal(propagation.latents[:, 0], propagation(2, own))


def test_the_first_frame_of_a_shot_is_not_pulled() -> None:
    own = noise(1, 4, HEIGHT, WIDTH)
    propagation = Propagation({0: 0.5}, 1, None, [Link(WHOLE)])
    assert torch.equal(propagation(0, own), own)


def test_batches_of_any_size_give_the_same_latents() -> None:
    latents = noise(4, 4, HEIGHT, WIDTH)
    links = [Link(WHOLE), *(Link(WHOLE, warp(1, 0.7, 0.2)) for _ in range(3))]
    together = Propagation({0: 0.4}, 1, None, links)(0, latents)
    last = None
    for i in range(4):
        alone = Propagation({0: 0.4}, 1, last, [links[i]])
        assert torch.equal(alone(0, latents[i : i + 1])[0], together[i])
        last = alone.latents[0]


def test_held_latents_are_the_last_frames_to_the_bit() -> None:
    last, own = noise(4, HEIGHT, WIDTH), noise(1, 4, HEIGHT, WIDTH)
    held = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    held[:10] = True
    pulled = Propagation({0: 0.4}, 1, last[None], [Link(WHOLE, warp(1), held)])(0, own)
    assert torch.equal(pulled[0, :, :10], last[:, :10])
    assert not torch.equal(pulled[0, :, 10:], last[:, 10:])


def test_noise_averages_out_and_detail_remains() -> None:
    """Ten noisy views of a still picture: propagation lowers the noise and keeps the detail."""
    picture = pan(1, 0, 0).float()[:, :, :HEIGHT, :WIDTH] / 255
    generator = torch.Generator().manual_seed(0)
    views = picture + 0.1 * torch.randn(10, 3, HEIGHT, WIDTH, generator=generator)
    links = [Link(WHOLE), *(Link(WHOLE, warp(1)) for _ in range(9))]
    last = Propagation({0: 0.8}, 1, None, links)(0, views)[-1]
    assert (last - picture).std() < 0.045
    detail = (last[:, 1:] - last[:, :-1]).std() / (picture[0, :, 1:] - picture[0, :, :-1]).std()
    assert detail > 0.97
