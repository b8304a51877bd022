"""Noise as a pure function of seed, role, frame and position."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor


class Role(StrEnum):
    """Purpose of a noise field; fields of different roles are independent."""

    LOW_RES = "low_res"
    LATENTS = "latents"


@dataclass(frozen=True)
class NoiseSpec:
    """The noise that a model needs in one role."""

    role: Role
    channels: int
    grid: int = 1
    """Points per low-resolution pixel, along each side."""


def noise_field(
    seed: int, role: Role, channels: int, height: int, width: int, pts: int | None = None
) -> Tensor:
    """Draw standard normal noise for a whole frame.

    Equal arguments give equal bits on every device, whatever was drawn before, so tiles can crop the field.

    Args:
        seed: the user's seed.
        role: purpose of the field.
        channels: number of channels.
        height: number of rows.
        width: number of columns.
        pts: presentation time of the frame; None for the field that all frames share.

    Returns:
        float32 on the CPU, (channels, height, width).
    """
    key = f"vidx4/{seed}/{role}" + ("" if pts is None else f"/{pts}")
    digest = hashlib.sha256(key.encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)
    return torch.randn((channels, height, width), generator=generator)
