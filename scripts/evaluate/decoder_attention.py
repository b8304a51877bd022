"""Compare exact attention in the decoder with that to near latents and far cells, on trained weights.

With random weights attention is nearly flat, and any approximation would look good. So a small autoencoder of
the Stable Diffusion x4 Upscaler's topology is trained on photographs first, or read from a folder.

python -m scripts.evaluate decoder_attention --photos FOLDER [--minutes N] [--weights FOLDER]
"""

import argparse
import json
import random
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vidx4.diffusion.models.networks.autoencoder import TiledAutoencoder
from vidx4.diffusion.models.networks.decoder_attention import AttentionReach

WIDTHS = (16, 16, 32)
LEVELS = 255 / 2
"""8-bit levels in a picture's unit."""
REACHES = {
    (160, 120): AttentionReach(near=160 * 120 // 4, block=16, landmarks=256),
    (320, 240): AttentionReach(near=320 * 240 // 4, block=32, landmarks=1024),
    (640, 480): AttentionReach(),
}
"""The reach for each field: the program's for the largest, and for those that it attends to exactly one that
sees the same share of the field one by one."""
SHARPNESSES = (1.0, 4.0, 16.0)
"""Factors of the queries: the larger, the fewer latents each one attends to."""
TILE_SIZE = 128


@dataclass(frozen=True)
class Row:
    """How two pictures of the same latents differ, and how far attention reaches."""

    field: str
    sharpness: float
    psnr: float
    """PSNR of one against the other, in dB."""
    most: float
    """Largest difference, in 8-bit levels."""
    mean: float
    """Mean difference, in 8-bit levels."""
    without: float
    """Mean difference of the exact picture from one without any attention, in 8-bit levels."""
    num_attended: float
    """Median perplexity of the attention's weights: the number of latents that a query attends to."""
    far_share: float
    """Mean share of the weights that falls outside of the window of `reach`."""


def run(arguments: argparse.Namespace) -> None:
    """Train or read an autoencoder, compare, and write the rows as JSON."""
    torch.manual_seed(0)
    random.seed(0)
    photos = sorted(arguments.photos.glob("**/*.jpg"))
    weights = arguments.weights or arguments.out / "decoder"
    if not weights.exists():
        train(photos[::2], arguments.minutes).save_pretrained(weights)
    rows = []
    arguments.out.mkdir(parents=True, exist_ok=True)
    for row in compare(weights, photos[1::2], arguments.fields):
        rows.append(asdict(row))
        print(json.dumps(rows[-1]), flush=True)
    (arguments.out / "decoder_attention.json").write_text(json.dumps(rows, indent=1) + "\n")


def train(photos: list[Path], minutes: float) -> Any:
    """Train an autoencoder for some minutes of a processor on crops, small ones first."""
    from tests import sd_x4

    pictures = [read(path, 500) for path in random.sample(photos, min(150, len(photos)))]
    vae = sd_x4.make_vae(WIDTHS).train()
    optimizer = torch.optim.Adam(vae.parameters(), 2e-3, betas=(0.9, 0.99))
    start, done = time.process_time(), 0.0
    while done < 1:
        optimizer.param_groups[0]["lr"] = 2e-3 * max(0.02, 1 - done)
        side = random.choice((48, 64) if done < 0.5 else (64, 96, 128))
        crops = torch.cat([crop(pictures, side) for _ in range(max(1, 2 * 64**2 // side**2))])
        loss = F.l1_loss(vae.decode(vae.encode(crops).latent_dist.mode()).sample, crops)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        done = (time.process_time() - start) / (60 * minutes)
    return vae.eval()


def read(path: Path, side: int) -> Tensor:
    """Return a photograph in [-1, 1], whose longer side is at most so many pixels, (1, 3, H, W)."""
    picture = Image.open(path).convert("RGB")
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / LEVELS - 1


def crop(pictures: list[Tensor], side: int) -> Tensor:
    """Return a random square of a random picture."""
    picture = random.choice([each for each in pictures if min(each.shape[2:]) >= side])
    top, left = (random.randint(0, length - side) for length in picture.shape[2:])
    return picture[..., top : top + side, left : left + side]


@torch.no_grad()
def compare(weights: Path, photos: list[Path], fields: Collection[str]) -> Iterator[Row]:
    """Yield a row for each sharpness of each field; exact attention takes minutes for the largest."""
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(weights).requires_grad_(False).eval()
    query = vae.decoder.mid_block.attentions[0].to_q
    original = {name: parameter.clone() for name, parameter in query.named_parameters()}
    for width, height in (size for size in REACHES if "{}x{}".format(*size) in fields):
        latents = encode(vae, photos, width, height)
        for sharpness in SHARPNESSES:
            for name, parameter in query.named_parameters():
                parameter.copy_(sharpness * original[name])
            yield difference(vae, latents, sharpness)


def encode(vae: Any, photos: list[Path], width: int, height: int) -> Tensor:
    """Return the latents of four photographs side by side, (1, 4, H, W), encoded one at a time."""
    pictures = [F.interpolate(read(path, 4000), (2 * height, 2 * width), mode="area") for path in photos[:4]]
    quarters = [vae.encode(picture).latent_dist.mode() for picture in pictures]
    return torch.cat([torch.cat(quarters[:2], dim=3), torch.cat(quarters[2:], dim=3)], dim=2)


def difference(vae: Any, latents: Tensor, sharpness: float) -> Row:
    """Decode with exact attention, with near and far, and without any, and compare."""
    height, width = latents.shape[2:]
    reach, everything = REACHES[width, height], AttentionReach(near=height * width)
    scaled = latents * vae.config.scaling_factor

    def decode(reach: AttentionReach) -> Tensor:
        return TiledAutoencoder(vae, TILE_SIZE, reach).decode(scaled, scaled).clamp(-1, 1) * LEVELS

    attention = vae.decoder.mid_block.attentions[0]
    with collected(attention.to_q) as queries, collected(attention.to_k) as keys:
        near = decode(reach)
    exact = decode(everything)
    with silenced(attention.to_out[0]):
        without = decode(reach)
    apart = (near - exact).abs()
    psnr = 20 * float(torch.log10(255 / apart.square().mean().sqrt()))
    distance = float((without - exact).abs().mean())
    seen = look(torch.cat(queries, dim=1)[0], torch.cat(keys, dim=1)[0], reach)
    return Row(f"{width}x{height}", sharpness, psnr, float(apart.max()), float(apart.mean()), distance, *seen)


@contextmanager
def collected(layer: torch.nn.Module) -> Iterator[list[Tensor]]:
    """Collect what a layer returns for each strip, (1, h, W, C)."""
    results: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _, __, result: results.append(result))
    yield results
    hook.remove()


@contextmanager
def silenced(layer: torch.nn.Module) -> Iterator[None]:
    """Let a layer return zeros."""
    hook = layer.register_forward_hook(lambda _, __, result: torch.zeros_like(result))
    yield
    hook.remove()


def look(query: Tensor, key: Tensor, reach: AttentionReach, num_queries: int = 200) -> tuple[float, float]:
    """Return how many latents random queries attend to, and the share of their weights that is far.

    Args:
        query: queries, (H, W, C).
        key: keys, same shape.
        reach: what is far.
        num_queries: number of queries to look at.
    """
    height, width, num_channels = query.shape
    rows, columns = reach.window(height, width)
    perplexities, shares = [], []
    for _ in range(num_queries):
        y, x = random.randrange(height), random.randrange(width)
        products = key @ query[y, x] / num_channels**0.5
        weights = products.flatten().softmax(0).view(height, width)
        perplexities.append(torch.special.entr(weights).sum().exp())
        top, left = (
            min(max(0, at - side // 2), length - side)
            for at, side, length in ((y, rows, height), (x, columns, width))
        )
        shares.append(1 - weights[top : top + rows, left : left + columns].sum())
    return float(torch.stack(perplexities).median()), float(torch.stack(shares).mean())
