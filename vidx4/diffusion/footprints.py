"""The memory that the known models take on a GPU, without loading them there."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from vidx4.diffusion.memory import Footprint


def known_footprints(dtype: torch.dtype, device: torch.device) -> Mapping[str, Footprint]:
    """Return the memory that each known model takes on a GPU, by its name."""
    # Only a machine with a GPU has to wait for these imports.
    from vidx4.diffusion.models.registry import load
    from vidx4.diffusion.models.sd_x4 import sd_x4_footprint
    from vidx4.diffusion.options import UpscaleOptions
    from vidx4.diffusion.rendering import footprint_of
    from vidx4.diffusion.settings import Settings

    compact = replace(load("compact", torch.device("cpu"), dtype), device=device)
    settings = Settings.resolve(UpscaleOptions("compact"), compact)
    return {"compact": footprint_of(compact, settings), "sd-x4": sd_x4_footprint(dtype)}
