"""Networks for single pictures with random weights, tiny, as files that people share them as."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from vidx4.diffusion.models.spandrel_models import library


def make_network(kind: str, **settings: Any) -> Any:
    """Make a network of an architecture with the same random weights at every call."""
    library()  # without torchvision
    from spandrel.architectures.Compact import Compact
    from spandrel.architectures.ESRGAN import ESRGAN
    from spandrel.architectures.SPAN import SPAN
    from spandrel.architectures.SwinIR import SwinIR

    makers: dict[str, Callable[..., Any]] = {
        "Compact": lambda **more: Compact(**({"num_feat": 8, "num_conv": 2, "upscale": 4} | more)),
        "ESRGAN": lambda **more: ESRGAN(**({"num_filters": 8, "num_blocks": 1, "scale": 4} | more)),
        "SPAN": lambda **more: SPAN(
            **({"num_in_ch": 3, "num_out_ch": 3, "feature_channels": 8, "upscale": 4} | more)
        ),
        "SwinIR": lambda **more: SwinIR(
            **(
                {
                    "img_size": 16,
                    "window_size": 8,
                    "embed_dim": 12,
                    "depths": [2],
                    "num_heads": [2],
                    "mlp_ratio": 2,
                    "upsampler": "pixelshuffledirect",
                    "upscale": 4,
                }
                | more
            )
        ),
    }
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the `torch.meshgrid` in SwinIR
        return makers[kind](**settings).eval()


def save_network(path: Path, kind: str = "Compact", **settings: Any) -> Path:
    """Write such a network to a file: safetensors, or as its suffix says."""
    weights = {name: each.contiguous() for name, each in make_network(kind, **settings).state_dict().items()}
    if path.suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save({"params_ema": weights}, path)
    return path
