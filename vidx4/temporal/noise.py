"""Noise as a pure function of seed, role and place."""

import hashlib
from enum import StrEnum
from functools import lru_cache

import torch
from torch import Tensor


class Role(StrEnum):
    """What a noise field is for; fields of two roles are independent."""

    LOW_RES = "low_res"
    LATENTS = "latents"


@lru_cache(maxsize=len(Role))
def noise_field(seed: int, role: Role, channels: int, height: int, width: int) -> Tensor:
    """Draw standard normal noise for a whole frame.

    The same arguments give the same bits on every device, whatever was drawn before, so all frames of a
    video can share one field and tiles can crop it.

    Returns:
        float32 on the CPU, (1, channels, height, width); shared by all callers, so not to be written to.
    """
    digest = hashlib.sha256(f"vidx4/{seed}/{role}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)
    return torch.randn((1, channels, height, width), generator=generator)
