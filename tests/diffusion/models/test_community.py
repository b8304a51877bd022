"""Models in files enlarge as spandrel does, through the same loop as every other model."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.community import make_network, save_network
from vidx4.diffusion.upscaler import Upscaler
from vidx4.frames import FrameBatch

KINDS = ("Compact", "ESRGAN", "SPAN", "SwinIR")


def noise(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def load(path: Path, **options: object) -> Upscaler:
    return Upscaler.load(str(path), device="cpu", **options)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_what_the_network_makes_of_it(tmp_path: Path, kind: str) -> None:
    frames = noise(1, 3, 24, 32)
    made = load(save_network(tmp_path / "x.safetensors", kind))(FrameBatch(frames, (0,))).batch.data
    with torch.no_grad():
        expected = make_network(kind)(frames / 255).clamp(0, 1) * 255
    assert (made.float() - expected).abs().max() <= 0.51  # rounded to whole levels
