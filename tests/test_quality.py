"""The bundled weights are as good as recorded: a broken file or preprocessing can't pass."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metrics import psnr_y
from vidx4.diffusion.upscaler import Upscaler

DATA = Path(__file__).parent / "data"


def to_tensor(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize("name", ["kodim05", "kodim23"])
def test_beats_lanczos(name: str) -> None:
    with Image.open(DATA / f"{name}.png") as picture:
        truth = picture.convert("RGB")
    low_res = truth.resize((truth.width // 4, truth.height // 4), Image.Resampling.BICUBIC)
    lanczos = low_res.resize(truth.size, Image.Resampling.LANCZOS)
    upscaled = Upscaler.load("compact", device="cpu", dtype="float32").picture(low_res)
    scores = [psnr_y(to_tensor(result), to_tensor(truth)) for result in (lanczos, upscaled)]
    assert scores[1] - scores[0] > GAIN[name]


GAIN = {"kodim05": 1.15, "kodim23": 1.35}
"""Decibels of PSNR-Y over Lanczos, a little less than measured."""
