"""The bundled weights are as good as recorded, so a broken file or preprocessing can't pass."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from scripts.evaluate.clips import reduce_clean
from scripts.evaluate.metrics import Lpips, psnr_y
from scripts.training.transcode import transcode
from vidx4.diffusion.upscaler import Upscaler
from vidx4.frames import Frame, FrameBatch
from vidx4.temporal.warm_up import warm_up_of

DATA = Path(__file__).parent / "data"

NEARNESS = {"kodim05": (24.60, 0.301), "kodim23": (32.67, 0.171)}
"""PSNR-Y in dB and LPIPS without texture."""
TEXTURE = {"kodim05": (24.53, 0.206), "kodim23": (32.57, 0.106)}
"""PSNR-Y and LPIPS with all texture."""
PSNR_TOLERANCE, LPIPS_TOLERANCE = 0.05, 0.005
MEMORY_GAIN, WARM_UP_GAIN, RESTORATION_GAIN = 1.2, 0.9, 0.4
"""Decibels, a little less than measured."""


def photo(name: str) -> np.ndarray:
    with Image.open(DATA / f"{name}.png") as picture:
        return np.asarray(picture.convert("RGB"))


def to_tensor(frames: np.ndarray) -> torch.Tensor:
    """Return frames, uint8, (T, H, W, 3), as RGB in [0, 1], (T, 3, H, W)."""
    return torch.from_numpy(frames.transpose(0, 3, 1, 2).copy()) / 255


def upscaled(low_res: np.ndarray, *, warms_up: bool = False, **options: Any) -> np.ndarray:
    """Enlarge the frames of a shot, uint8, (T, H, W, 3)."""
    upscaler = Upscaler.load("compact", device="cpu", dtype="float32", **options)
    frames = torch.from_numpy(low_res.transpose(0, 3, 1, 2).copy())
    following = [Frame(data, pts) for pts, data in enumerate(frames)][1:] if warms_up else []
    batch = FrameBatch(frames, tuple(range(len(frames))), warm_up_of(following))
    result = upscaler(batch).batch.data
    return result.permute(0, 2, 3, 1).numpy()


def nearness(result: np.ndarray, truth: np.ndarray) -> float:
    return psnr_y(to_tensor(result[None]), to_tensor(truth[None]))


@pytest.mark.parametrize("name", ["kodim05", "kodim23"])
@pytest.mark.parametrize(("texture", "recorded"), [(0.0, NEARNESS), (1.0, TEXTURE)])
def test_weights_are_as_good_as_recorded(
    name: str, texture: float, recorded: dict[str, tuple[float, float]]
) -> None:
    truth = photo(name)[None]
    result = upscaled(reduce_clean(truth), texture=texture)
    with torch.inference_mode():
        lpips = float(Lpips()(to_tensor(result), to_tensor(truth)))
    assert nearness(result[0], truth[0]) >= recorded[name][0] - PSNR_TOLERANCE
    assert lpips <= recorded[name][1] + LPIPS_TOLERANCE


def test_earlier_frames_make_later_ones_better() -> None:
    """In a pan, the sixth frame is nearer to the truth than it would be alone."""
    picture = photo("kodim05")
    truth = np.stack([picture[3 * i : 3 * i + 384, 5 * i : 5 * i + 512] for i in range(6)])
    low_res = reduce_clean(truth)
    alone, remembered = upscaled(low_res[-1:])[0], upscaled(low_res)[-1]
    assert nearness(remembered, truth[-1]) > nearness(alone, truth[-1]) + MEMORY_GAIN


def test_a_warm_up_makes_the_first_frame_as_good_as_later_ones() -> None:
    picture = photo("kodim05")
    truth = np.stack([picture[3 * i : 3 * i + 384, 5 * i : 5 * i + 512] for i in range(6)])
    low_res = reduce_clean(truth)
    cold, warm = upscaled(low_res), upscaled(low_res, warms_up=True)
    assert nearness(warm[0], truth[0]) > nearness(cold[0], truth[0]) + WARM_UP_GAIN
    assert nearness(warm[0], truth[0]) > nearness(warm[-1], truth[-1]) - 0.3
    assert nearness(warm[-1], truth[-1]) > nearness(cold[-1], truth[-1]) - PSNR_TOLERANCE


def test_a_noise_level_removes_coding_artefacts() -> None:
    picture = photo("kodim23")
    truth = np.stack([picture[i : i + 384, i : i + 512] for i in range(3)])
    coded = transcode(reduce_clean(truth), "mpeg2video", 12)
    plain, restored = (upscaled(coded, noise_level=level)[-1] for level in (0, 75))
    assert nearness(restored, truth[-1]) > nearness(plain, truth[-1]) + RESTORATION_GAIN


def test_a_still_picture_with_grain_is_steadied() -> None:
    rng = np.random.default_rng(0)
    still = reduce_clean(photo("kodim23")[None, :256, :320])
    grain = rng.normal(0, 4, (5, *still.shape[1:3], 1))
    noisy = (still + grain).round().clip(0, 255).astype(np.uint8)
    levels = {level: upscaled(noisy, noise_level=level) for level in (0, 60)}
    flicker = {level: frames[1:].astype(float).std(axis=0).mean() for level, frames in levels.items()}
    assert flicker[60] < 0.5 * flicker[0]


def test_texture_does_not_accumulate_over_a_shot() -> None:
    picture = photo("kodim23")
    truth = np.stack([picture[2 * i : 2 * i + 192, 3 * i : 3 * i + 256] for i in range(16)])
    coded = transcode(reduce_clean(truth), "mpeg2video", 12)
    result = upscaled(coded, num_inference_steps=4, noise_level=75)
    sharpness = [change(a) / change(b) for a, b in zip(result, truth, strict=True)]
    assert sharpness[-1] < 1.1 * sharpness[0]


def change(frame: np.ndarray) -> float:
    """Return the mean change from row to row, a measure of detail."""
    return float(np.abs(np.diff(frame.astype(float), axis=0)).mean())


def test_nothing_piles_up_over_a_long_still_shot() -> None:
    """Noise that is new in every frame of a still is not remembered as detail."""
    rng = np.random.default_rng(0)
    still = reduce_clean(photo("kodim23")[None, :192, :256])
    noisy = (still + rng.normal(0, 1.5, (60, *still.shape[1:]))).round().clip(0, 255).astype(np.uint8)
    result = upscaled(noisy)
    assert change(result[-1]) < 1.05 * change(result[5])
