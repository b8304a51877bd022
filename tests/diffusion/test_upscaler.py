"""The façade: sizes, types, determinism, independence of the batch, and what options do."""

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers import Load
from vidx4.diffusion.bicubic import enlarge_frames
from vidx4.diffusion.upscaler import Upscaler, _gray
from vidx4.errors import MemoryLimitError, ModelError, OptionError
from vidx4.frames import FrameBatch


def frames(count: int, height: int = 20, width: int = 28, dtype: torch.dtype = torch.uint8) -> FrameBatch:
    generator = torch.Generator().manual_seed(1)
    highest = torch.iinfo(dtype).max
    data = (torch.rand(count, 3, height, width, generator=generator) * highest).to(dtype)
    return FrameBatch(data, tuple(range(count)))


def difference(a: FrameBatch, b: FrameBatch) -> int:
    return int((a.data.int() - b.data.int()).abs().max())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
@pytest.mark.parametrize(("height", "width"), [(20, 28), (17, 9), (1, 1)])
def test_any_size_and_depth_becomes_four_times_larger(
    load: Load, height: int, width: int, dtype: torch.dtype
) -> None:
    result = load()(frames(1, height, width, dtype)).batch
    assert result.data.shape == (1, 3, 4 * height, 4 * width)
    assert result.data.dtype == dtype
    assert result.pts == (0,)


def test_same_seed_same_bits_other_seed_other_picture(load: Load) -> None:
    batch = frames(2)
    first, second, other = (load(seed=seed)(batch).batch for seed in (0, 0, 1))
    assert torch.equal(first.data, second.data)
    assert not torch.equal(first.data, other.data)


def test_a_frame_does_not_depend_on_its_batch(load: Load) -> None:
    upscaler, batch = load(), frames(4)
    together = upscaler(batch).batch
    state = None
    for i in range(4):
        alone = upscaler(FrameBatch(batch.data[i : i + 1], pts=(i,)), state)
        assert difference(alone.batch, FrameBatch(together.data[i : i + 1], pts=(i,))) <= 1
        state = alone.state


def test_equal_frames_give_equal_results(load: Load) -> None:
    data = frames(1).data.expand(3, -1, -1, -1)
    result = load()(FrameBatch(data, pts=(0, 1, 2))).batch
    assert difference(FrameBatch(result.data[:1], (0,)), FrameBatch(result.data[2:], (0,))) <= 1


def test_strength_blends_with_the_bicubic_picture(load: Load) -> None:
    batch = frames(1)
    plain, full = enlarge_frames(batch), load(strength=1.0)(batch).batch
    assert difference(load(strength=0.0)(batch).batch, plain) == 0
    half = load(strength=0.5)(batch).batch.data.float()
    middle = (plain.data.float() + full.data.float()) / 2
    within = ((plain.data > 0) & (plain.data < 255)) & ((full.data > 0) & (full.data < 255))
    assert within.float().mean() > 0.5
    # Overshoot is cut off only after the blend; elsewhere, each of the three is rounded.
    assert (half - middle)[within].abs().max() <= 1


@pytest.mark.parametrize(
    "change", [{"num_inference_steps": 3}, {"noise_level": 60}], ids=["steps", "noise.level"]
)
def test_options_change_the_picture(load: Load, change: dict[str, Any]) -> None:
    batch = frames(1)
    assert difference(load()(batch).batch, load(**change)(batch).batch) > 0


def test_prompts_and_guidance_change_the_picture(tiny_folder: Path) -> None:
    def result(**options: Any) -> FrameBatch:
        upscaler = Upscaler.load(str(tiny_folder), num_inference_steps=2, device="cpu", **options)
        return upscaler(frames(1)).batch

    plain = result()
    assert difference(plain, result(prompt="dog")) > 0
    assert difference(result(prompt="dog"), result(prompt="dog", guidance_scale=3.0)) > 0
    assert difference(result(prompt="dog"), result(prompt="dog", negative_prompt="cat")) > 0


def test_padding_repeats_edges_and_is_cut_off_again(tiny_folder: Path) -> None:
    """A size that is no multiple of 8 gives what the padded picture gives, and is not resized."""
    upscaler = Upscaler.load(str(tiny_folder), num_inference_steps=1, device="cpu", strength=1.0)
    batch = frames(1, 30, 45)
    padded = torch.nn.functional.pad(batch.data.float(), (0, 3, 0, 2), mode="replicate").to(torch.uint8)
    result, expected = upscaler(batch).batch.data, upscaler(FrameBatch(padded, (0,))).batch.data
    # Near the cut, the low frequencies are those of another edge.
    assert (result[..., :-40, :-40].int() - expected[..., :80, :140].int()).abs().max() <= 1


def test_lower_precision_is_close(load: Load) -> None:
    batch = frames(1)
    exact, fast = load(dtype="float32")(batch).batch, load(dtype="bfloat16")(batch).batch
    assert (exact.data.float() - fast.data.float()).abs().mean() < 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 1.5}, "strength"),
        ({"num_inference_steps": 0}, "steps"),
        ({"num_inference_steps": 1000}, "steps"),
        ({"noise_level": -1}, "noise.level"),
        ({"guidance_scale": float("nan")}, "guidance"),
        ({"device": "meta"}, "'meta'"),
        ({"noise_level": 999}, "--noise-level.*999"),
        ({"device": "cuda:77"}, "'cuda:77'"),
        ({"device": "toaster"}, "'toaster'"),
        ({"dtype": "float8"}, "--dtype.*'float8'"),
        ({"dtype": "float16"}, "float16"),
        ({"guidance_scale": 5.0}, "guidance"),
        ({"prompt": "a dog"}, "compact.*prompt"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Upscaler.load("compact", **({"device": "cpu"} | options))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("num_channels", [1, 3])
def test_a_still_picture_is_one_frame(num_channels: int, dtype: type[Any], load: Load) -> None:
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (9, 14, num_channels)).astype(dtype)
    result = load().picture(values)
    frame = torch.from_numpy(values).permute(2, 0, 1).expand(3, -1, -1)
    rgb = load(temporal="fixed")(FrameBatch(frame[None], (0,))).batch.data[0].permute(1, 2, 0).numpy()
    gray = np.asarray(Image.fromarray(rgb).convert("L")) if dtype is np.uint8 else rgb[..., 1]
    assert result.dtype == dtype
    assert np.array_equal(result, rgb if num_channels == 3 else gray[..., None])


def test_gray_is_that_of_pillow() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3)).astype(np.uint8)
    gray = _gray(torch.from_numpy(rgb).permute(2, 0, 1))[0].numpy()
    assert np.array_equal(gray, np.asarray(Image.fromarray(rgb).convert("L")))


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 4), (1, 8, 8, 3)])
def test_a_still_picture_of_another_shape_is_refused(shape: tuple[int, ...], load: Load) -> None:
    with pytest.raises(ValueError, match="must be"):
        load().picture(np.zeros(shape, np.uint8))


def test_too_little_memory_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    upscaler = Upscaler.load("compact", device="cpu")
    error = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 7 bytes.")
    monkeypatch.setattr(upscaler._rendering, "_render", Mock(side_effect=error))
    with pytest.raises(MemoryLimitError, match=r"28x20.*--device"):
        upscaler(frames(2))
    with pytest.raises(MemoryLimitError, match="28x20"):
        upscaler(frames(1))


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(ModelError, match="nonsense"):
        Upscaler.load("nonsense", device="cpu")
