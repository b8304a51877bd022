"""The Stable Diffusion x4 Upscaler at its real size: with random weights, and the operations it computes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from scripts.bench.measure import in_child, peak_memory, reset_peak_memory, timed
from vidx4.diffusion.models.networks.autoencoder import TiledAutoencoder

TEXT_TOKENS = 77


@dataclass(frozen=True)
class Architecture:
    """Channels of the networks; what they are connected to is the same for all."""

    unet_widths: tuple[int, ...]
    """Channels of the UNet at each resolution."""
    vae_widths: tuple[int, ...]
    """Channels of the autoencoder at each resolution."""
    text_width: int
    """Width of the embeddings of prompts."""


REAL = Architecture((256, 512, 512, 1024), (128, 256, 512), 1024)
"""What the model has."""
SMALL = Architecture((16, 32, 32, 64), (16, 16, 32), 32)
"""So few that a CPU tries everything out in seconds; its speed means nothing."""


@cache
def tiny_sd_x4() -> ModuleType:
    """Return `tests.sd_x4`, which makes the topology of any width.

    It imports diffusers and transformers, which takes seconds, so this happens on first use; and quietly, as
    transformers complains that torchvision is missing.
    """
    silence_libraries()
    from tests import sd_x4

    return sd_x4


def silence_libraries() -> None:
    """Let diffusers and transformers log only errors; call it before importing anything from them."""
    import diffusers
    import transformers

    for library in (transformers, diffusers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


@contextmanager
def random_model(kept: Path | None = None, architecture: Architecture = REAL) -> Iterator[Path]:
    """Provide a folder with the model; see `save_random_model`.

    Args:
        kept: where the model is kept for later; made if it is missing. None for a temporary folder.
        architecture: the size of its networks.
    """
    with TemporaryDirectory() as temporary:
        folder = kept or Path(temporary) / "model"
        if not folder.exists():
            in_child(save_random_model, folder, architecture)
        yield folder


def save_random_model(folder: Path, architecture: Architecture = REAL) -> None:
    """Write the model in bfloat16, in diffusers' format; the same weights at every call.

    Loading it in another precision gives the same numbers. The text encoder is a small one, since it runs
    only once for each prompt.
    """
    parts, before = tiny_sd_x4(), torch.get_default_dtype()
    pipeline = parts.make_pipeline()
    torch.set_default_dtype(torch.bfloat16)
    try:
        text_encoder = parts.make_text_encoder(architecture.text_width).eval()
        networks = {"unet": make_unet(architecture), "vae": make_vae(architecture)}
        pipeline.register_modules(text_encoder=text_encoder, **networks)
    finally:
        torch.set_default_dtype(before)
    partial = folder.with_name(f"{folder.name}.partial")
    pipeline.save_pretrained(partial)
    partial.replace(folder)


def make_unet(architecture: Architecture = REAL) -> Any:
    """Make the UNet with random weights."""
    return tiny_sd_x4().make_unet(architecture.unet_widths, text_width=architecture.text_width).eval()


def make_vae(architecture: Architecture = REAL) -> Any:
    """Make the autoencoder with random weights."""
    return tiny_sd_x4().make_vae(architecture.vae_widths).eval()


@torch.inference_mode()
def decode_latents(tile_size: int, device: torch.device, width: int, height: int) -> tuple[float, int]:
    """Decode random latents in tiles; return the seconds and the peak memory in bytes."""
    autoencoder = TiledAutoencoder(make_vae().to(device), tile_size)
    latents, low_res = torch.randn(1, 4, height, width, device=device), torch.zeros(1, 3, height, width)
    reset_peak_memory(device)
    return timed(lambda: autoencoder.decode(latents, low_res), 1, device), peak_memory(device)


@cache
def unet_operations(width: int, height: int, architecture: Architecture = REAL) -> int:
    """Return the operations of one evaluation of the UNet for one frame, two per multiply-add."""
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        make_unet(architecture)(
            torch.empty(1, 7, height, width),
            torch.tensor(0),
            encoder_hidden_states=torch.empty(1, TEXT_TOKENS, architecture.text_width),
            class_labels=torch.zeros(1, dtype=torch.long),
        )
    return int(counter.get_total_flops())


@cache
def vae_operations(
    width: int, height: int, architecture: Architecture = REAL, *, with_attention: bool = True
) -> int:
    """Return the operations of decoding one frame, two per multiply-add.

    Args:
        width: width of the latents.
        height: height of the latents.
        architecture: the size of the autoencoder.
        with_attention: whether the products of its one attention count. They grow with the square of the
            picture, and decoding in tiles avoids most of them.
    """
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        make_vae(architecture).decode(torch.empty(1, 4, height, width))
    products = counter.get_flop_counts()["Global"]
    return int(counter.get_total_flops() - (0 if with_attention else products[torch.ops.aten.bmm]))


@cache
def decode_operations(width: int, height: int, tile_size: int) -> int:
    """Return the operations of decoding one frame as the program does, two per multiply-add.

    Args:
        width: width of the latents.
        height: height of the latents.
        tile_size: side of the square, in latents, whose area bounds what is decoded at once.
    """
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        latents, low_res = torch.empty(1, 4, height, width), torch.empty(1, 3, height, width)
        TiledAutoencoder(make_vae(), tile_size).decode(latents, low_res)
    return int(counter.get_total_flops())
