"""Motion is accurate to a fraction of a pixel, and not trusted where something appears or disappears."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.moving import affine_motion, moved, pan, photo, rotation
from vidx4.temporal.motion import Motion, estimate_motion, luma

INNER = (..., slice(16, -16), slice(16, -16))


def estimated(last: Tensor, frame: Tensor) -> Motion:
    return estimate_motion(last, frame, (last == frame).all(dim=0))


@pytest.mark.parametrize(
    ("matrix", "shift"),
    [
        (np.eye(2), (3.3, -1.6)),
        (np.eye(2), (12.0, 4.0)),
        (0.98 * np.eye(2), (0, 0)),
        (rotation(0.02), (0, 0)),
    ],
    ids=["slow pan", "fast pan", "zoom", "rotation"],
)
def test_motion_is_found_in_both_directions(matrix: np.ndarray, shift: tuple[float, float]) -> None:
    picture = photo()
    inverse = np.linalg.inv(matrix)
    last = moved(picture, np.eye(2), (0, 0))
    frame = moved(picture, inverse, tuple(-inverse @ shift))
    found, truth = estimated(last, frame), affine_motion(128, 192, matrix, shift)
    for flow, expected in ((found.forward, truth.forward), (found.backward, truth.backward)):
        error = (flow - expected).norm(dim=0)[INNER]
        assert error.median() < 0.08
        assert error.mean() < 0.25
    assert found.backward_trust[INNER].mean() > 0.85


def test_the_number_of_threads_changes_no_bit() -> None:
    frames = pan(2, 2.4, 1.1)
    before = cv2.getNumThreads()
    try:
        results = []
        for count in (1, 2, 5):
            cv2.setNumThreads(count)
            results.append(estimated(frames[0], frames[1]))
    finally:
        cv2.setNumThreads(before)
    for other in results[1:]:
        assert all(
            torch.equal(a, b) for a, b in zip(vars(results[0]).values(), vars(other).values(), strict=True)
        )


def test_luma_is_rounded_in_one_way_on_all_machines() -> None:
    levels = np.random.default_rng(0).uniform(0, 255, (7, 40, 3)).astype(np.float32)
    weights = [np.float32(weight) for weight in (0.299, 0.587, 0.114)]
    exact = [[r * weights[0] + g * weights[1] + b * weights[2] for r, g, b in row] for row in levels]
    assert np.array_equal(luma(levels), np.array(exact, np.float32))


def test_occluded_and_uncovered_areas_are_not_trusted() -> None:
    """A square moves to the right: background appears on its left and disappears on its right."""
    last, frame = (moved(photo(), np.eye(2), (0, 0)) for _ in range(2))
    square = moved(photo("kodim23"), np.eye(2), (0, 0))[:, 40:80, 60:100]
    last[:, 40:80, 60:100] = square
    frame[:, 40:80, 70:110] = square
    found = estimated(last, frame)
    assert found.backward_trust[44:76, 62:68].mean() < 0.2
    assert found.forward_trust[44:76, 102:108].mean() < 0.2
    assert found.backward_trust[44:76, 76:104].mean() > 0.8
    assert found.backward_trust[:, 130:].min() == 1
    assert (found.backward[:, :, 130:] == 0).all()


def test_a_still_picture_with_a_little_noise_does_not_move() -> None:
    frame = pan(1, 0, 0)[0]
    noisy = frame.clone()
    noisy[:, ::2, ::3] ^= 1
    found = estimated(frame, noisy)
    assert (found.forward == 0).all()
    assert (found.backward == 0).all()


def test_motion_between_unrelated_pictures_is_not_trusted() -> None:
    found = estimated(pan(1, 0, 0)[0], pan(1, 0, 0, "kodim23")[0])
    assert found.backward_trust.mean() < 0.15


def in_sixteen_bits(frame: Tensor) -> Tensor:
    return (frame.int() * 257).to(torch.uint16)


@pytest.mark.parametrize("convert", [in_sixteen_bits, lambda frame: frame])
def test_bit_depth_makes_no_difference(convert: Callable[[Tensor], Tensor]) -> None:
    frames = pan(2, 2.4, 1.1)
    found = estimated(convert(frames[0]), convert(frames[1]))
    assert torch.equal(found.backward, estimated(frames[0], frames[1]).backward)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 40), (16, 3), (33, 17)])
def test_small_frames_work(height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    frames = (torch.rand(2, 3, height, width, generator=generator) * 255).to(torch.uint8)
    found = estimated(frames[0], frames[1])
    assert found.forward.shape == (2, height, width)
    assert all(bool(field.isfinite().all()) for field in vars(found).values())
