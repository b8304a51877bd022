"""Noise as a pure function of seed, role, frame and place."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor


class Role(StrEnum):
    """What a noise field is for; fields of two roles are independent."""

    LOW_RES = "low_res"
    LATENTS = "latents"


@dataclass(frozen=True)
class NoiseSpec:
    """The noise that a model takes in one role."""

    role: Role
    channels: int
    grid: int = 1
    """Points per low-resolution pixel, along each side."""


def noise_field(
    seed: int, role: Role, channels: int, height: int, width: int, pts: int | None = None
) -> Tensor:
    """Draw standard normal noise for a whole frame.

    The same arguments give the same bits on every device, whatever was drawn before, so tiles can crop it.

    Args:
        seed: the user's.
        role: what it is for.
        channels: of the field.
        height: of the field.
        width: of the field.
        pts: the frame that the field belongs to; None for the field that all frames share.

    Returns:
        float32 on the CPU, (channels, height, width).
    """
    key = f"vidx4/{seed}/{role}" + ("" if pts is None else f"/{pts}")
    digest = hashlib.sha256(key.encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)
    return torch.randn((channels, height, width), generator=generator)
