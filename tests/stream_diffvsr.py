"""Stream-DiffVSR with random weights, at tiny width or at full size, which are the same on every platform."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn

from tests import sd_x4
from vidx4.diffusion.models.networks.tiny_network import TemporalAutoencoderTiny

TINY_WIDTHS = (32, 32, 64, 64)
TEXT_WIDTH = 32
TINY_WIDTH = 16
"""Channels of the tiny autoencoder's layers."""
REAL_CONTROL = (64, 128, 256)


def uniform(name: str, shape: tuple[int, ...], bound: float) -> Tensor:
    """Return float32 numbers between bounds that depend on a name and a shape alone."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    bits = np.random.Generator(np.random.PCG64(seed)).random(shape, dtype=np.float32)
    return torch.from_numpy(np.asarray(bound * (2 * bits - 1), dtype=np.float32))


@torch.no_grad()
def fill(module: Any, title: str) -> Any:
    """Give a network weights by their names, about as large as a trained network's, and return it."""
    for name, parameter in module.named_parameters():
        fan_in = max(1, parameter[0].numel() if parameter.dim() > 1 else 1)
        bound = (3 / fan_in) ** 0.5 if parameter.dim() > 1 else 0.5
        values = uniform(f"{title}.{name}", tuple(parameter.shape), bound)
        parameter.copy_(values + (1 if "norm" in name and name.endswith("weight") else 0))
    return module.eval()


def make_unet(
    widths: tuple[int, ...] = TINY_WIDTHS, text_width: int = TEXT_WIDTH, classes: int | None = None
) -> UNet2DConditionModel:
    """Make the UNet, which is that of sd-x4 without the embedding of noise levels."""
    config = dict(sd_x4.make_unet(widths, text_width).config)
    return UNet2DConditionModel.from_config(config | {"num_class_embeds": classes})


def make_controlnet(
    unet: UNet2DConditionModel, conditioning: tuple[int, ...] = (8, 16, 32)
) -> ControlNetModel:
    """Make the ControlNet of a UNet."""
    return ControlNetModel.from_unet(
        unet, conditioning_embedding_out_channels=conditioning, load_weights_from_unet=False
    )


def make_autoencoder(width: int = TINY_WIDTH) -> TemporalAutoencoderTiny:
    """Make the tiny autoencoder."""
    widths = (width,) * 3
    made: TemporalAutoencoderTiny = TemporalAutoencoderTiny(
        encoder_block_out_channels=widths, decoder_block_out_channels=widths
    )
    return made


def make_scheduler() -> DDIMScheduler:
    """Make the scheduler."""
    return DDIMScheduler(
        beta_start=0.0001,
        beta_end=0.02,
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type="v_prediction",
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="trailing",
    )


def make_networks(classes: int | None = None) -> dict[str, nn.Module]:
    """Make the tiny networks by the names of their folders, with weights."""
    unet = make_unet(classes=classes)
    networks = {"unet": unet, "controlnet": make_controlnet(unet), "vae": make_autoencoder()}
    return {name: fill(network, name) for name, network in networks.items()}


def make_prompt() -> Tensor:
    """Make the embedding of a prompt, (1, 77, width)."""
    return uniform("prompt", (1, 77, TEXT_WIDTH), 1.7)


def save_model(folder: Path, networks: dict[str, nn.Module] | None = None) -> Path:
    """Write a tiny model as a folder in the published layout."""
    torch.manual_seed(0)
    for name, network in (networks or make_networks()).items():
        network.save_pretrained(folder / name)  # type: ignore[operator]
    make_scheduler().save_pretrained(folder / "scheduler")
    sd_x4.make_text_encoder(TEXT_WIDTH).eval().save_pretrained(folder / "text_encoder")
    sd_x4.make_tokenizer().save_pretrained(folder / "tokenizer")
    index = {"_class_name": "StreamDiffVSRPipeline", "_diffusers_version": "0.21.0.dev0"}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
