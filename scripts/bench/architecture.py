"""The Stable Diffusion x4 Upscaler at its real size: with random weights, and what it computes."""

import sys
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).parents[2]

VAE_WIDTHS = (128, 256, 512)
TEXT_WIDTH, TEXT_TOKENS = 1024, 77


@cache
def sd_x4() -> Any:
    """Return the module of the tests that makes the topology.

    It is imported when it is wanted, since that takes seconds, and quietly: transformers misses torchvision.
    """
    hush()
    sys.path.insert(0, str(ROOT))
    from tests import sd_x4

    return sd_x4


def hush() -> None:
    """Have the libraries say nothing but errors; before anything else of them is imported."""
    import diffusers
    import transformers

    for library in (transformers, diffusers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def save_random_model(folder: Path) -> None:
    """Write the model in bfloat16, in diffusers' format; the same weights at every call.

    Whoever loads it in another precision gets the same numbers. The text encoder is a small one: it runs once
    for each prompt.
    """
    parts, before = sd_x4(), torch.get_default_dtype()
    pipeline = parts.make_pipeline()
    torch.set_default_dtype(torch.bfloat16)
    try:
        text_encoder = parts.make_text_encoder(TEXT_WIDTH).eval()
        pipeline.register_modules(unet=make_unet(), vae=make_vae(), text_encoder=text_encoder)
    finally:
        torch.set_default_dtype(before)
    pipeline.save_pretrained(folder)


def make_unet() -> Any:
    return sd_x4().make_unet(sd_x4().REAL_WIDTHS, text_width=TEXT_WIDTH).eval()


def make_vae() -> Any:
    return sd_x4().make_vae(VAE_WIDTHS).eval()


@cache
def unet_operations(width: int, height: int) -> int:
    """Return what one evaluation of the UNet takes for one frame, two operations per multiply-add."""
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        make_unet()(
            torch.empty(1, 7, height, width),
            torch.tensor(0),
            encoder_hidden_states=torch.empty(1, TEXT_TOKENS, TEXT_WIDTH),
            class_labels=torch.zeros(1, dtype=torch.long),
        )
    return int(counter.get_total_flops())


@cache
def vae_operations(width: int, height: int, *, with_attention: bool = True) -> int:
    """Return what decoding one frame takes, two operations per multiply-add.

    Args:
        width: of the latents.
        height: of the latents.
        with_attention: whether the products of its one attention count, which grow with the square of the
            picture; whoever decodes tiles is spared most of them.
    """
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        make_vae().decode(torch.empty(1, 4, height, width))
    products = counter.get_flop_counts()["Global"]
    return int(counter.get_total_flops() - (0 if with_attention else products[torch.ops.aten.bmm]))
