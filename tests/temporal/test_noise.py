"""Noise is a pure function of seed, role and position."""

import torch

from vidx4.temporal.noise import Role, noise_field


def test_equal_arguments_give_equal_bits_whatever_was_drawn_before() -> None:
    first = noise_field(7, Role.LATENTS, 4, 40, 30)
    torch.rand(5)
    assert torch.equal(first, noise_field(7, Role.LATENTS, 4, 40, 30))


def test_seeds_and_roles_are_independent() -> None:
    fields = [noise_field(seed, role, 3, 64, 64) for seed in (0, 1) for role in Role]
    correlation = torch.corrcoef(torch.stack([field.flatten() for field in fields]))
    assert (correlation - torch.eye(len(fields))).abs().max() < 0.05


def test_noise_is_standard_normal_and_white() -> None:
    field = noise_field(3, Role.LOW_RES, 3, 256, 256)
    assert field.shape == (3, 256, 256)
    assert field.dtype == torch.float32
    assert abs(float(field.mean())) < 0.01
    assert abs(float(field.var()) - 1) < 0.02
    assert abs(float((field[..., 1:] * field[..., :-1]).mean())) < 0.01


def test_the_global_generator_is_not_used() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    noise_field(1, Role.LATENTS, 4, 8, 8)
    assert torch.equal(torch.rand(3), expected)
