"""Load the text encoder of a model that takes prompts from its folder."""

from pathlib import Path
from typing import Any

import torch
from transformers import CLIPTextConfig, CLIPTextModel

from vidx4.diffusion.models.loading.architectures import TEXT_ENCODER
from vidx4.diffusion.models.loading.folder import read_json
from vidx4.diffusion.models.loading.parts import explained
from vidx4.diffusion.models.loading.rules import chosen
from vidx4.diffusion.models.loading.weights import load_weights


def load_text_encoder(folder: Path, dtype: torch.dtype, *, half: bool) -> Any:
    """Load the text encoder of a model that takes prompts; see `load_network`."""
    part = "text_encoder"
    name = f"{part}/config.json"
    settings = chosen(folder / name, read_json(folder, name), TEXT_ENCODER)
    make = explained(
        folder / part,
        CLIPTextModel.__name__,
        lambda: CLIPTextModel(CLIPTextConfig(**settings, attn_implementation="sdpa")),
    )
    return load_weights(make, folder, part, dtype, half=half)
