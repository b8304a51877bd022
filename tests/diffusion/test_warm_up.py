"""A shot that warms up: its first frame is enlarged knowing what follows, and nothing else changes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.diffusion.test_render import REMEMBERING, after, clip, difference, remembering
from tests.helpers import load_with_hidden_state
from vidx4.diffusion.upscaler import Upscaler
from vidx4.frames import Frame, FrameBatch
from vidx4.temporal.state import ShotState
from vidx4.temporal.warm_up import NUM_WARM_UP, warm_up_of


def warm_up(frames: Tensor) -> tuple[Frame, ...]:
    return warm_up_of([Frame(data, pts) for pts, data in enumerate(frames)][1:])


def upscaled(upscaler: Upscaler, frames: Tensor, sizes: list[int], folder: Path | None = None) -> Tensor:
    """Enlarge a shot that warms up in batches; with a folder, its state is saved and loaded between."""
    state: ShotState | None = None
    results, start = [], 0
    for size in sizes:
        pts = tuple(range(start, start + size))
        result = upscaler(
            FrameBatch(frames[start : start + size], pts, () if start else warm_up(frames)), state
        )
        results.append(result.batch.data)
        state, start = result.state, start + size
        if folder is not None and state is not None:
            state.save(folder / "state.safetensors")
            state = ShotState.load(folder / "state.safetensors")
    return torch.cat(results)


@pytest.mark.parametrize(
    "options", [each for each in REMEMBERING if "num_inference_steps" not in each], ids=str
)
def test_the_first_frame_is_what_playing_the_shot_back_makes_of_it(options: dict[str, Any]) -> None:
    upscaler, frames = load_with_hidden_state(**options), clip()
    played_back = after(upscaler, frames[: 1 + NUM_WARM_UP].flip(0))
    assert torch.equal(upscaled(upscaler, frames, [1])[0], played_back.upscaled)
    assert difference(played_back.upscaled, after(upscaler, frames[:1]).upscaled) > 1


@remembering
def test_it_does_not_depend_on_batches(options: dict[str, Any], tmp_path: Path) -> None:
    upscaler, frames = load_with_hidden_state(**options), clip()
    whole = upscaled(upscaler, frames, [6])
    assert len(whole) == 6
    assert torch.equal(upscaled(upscaler, frames, [1] * 6), whole)
    assert torch.equal(upscaled(upscaler, frames, [2, 3, 1], tmp_path), whole)


def test_equal_frames_are_equal_from_the_first_on() -> None:
    upscaler, frames = load_with_hidden_state(), clip()[:1].expand(4, -1, -1, -1)
    result = upscaled(upscaler, frames, [4])
    assert torch.equal(result, result[:1].expand(4, -1, -1, -1))


def test_frames_followed_ahead_give_the_same() -> None:
    upscaler, frames = load_with_hidden_state(), clip()
    batch = FrameBatch(frames[:2], (0, 1), warm_up(frames))
    assert torch.equal(upscaler(upscaler.follow(batch)).batch.data, upscaler(batch).batch.data)


@pytest.mark.parametrize("options", [{"temporal": "off"}, {"temporal": "fixed"}, {"speed": "fast"}], ids=str)
def test_a_model_that_does_not_look_back_needs_none(options: dict[str, Any]) -> None:
    upscaler, frames = load_with_hidden_state(**options), clip()
    expected = upscaler(FrameBatch(frames[:2], (0, 1))).batch.data
    assert torch.equal(upscaled(upscaler, frames, [2]), expected)


def test_a_model_without_memory_needs_none(tiny_folder: Path) -> None:
    upscaler, frames = Upscaler.load(str(tiny_folder), device="cpu", num_inference_steps=1), clip()
    expected = upscaler(FrameBatch(frames[:2], (0, 1))).batch.data
    assert torch.equal(upscaled(upscaler, frames, [2]), expected)


def test_a_warm_up_of_another_size_is_refused() -> None:
    frames = clip()
    with pytest.raises(ValueError, match="warm-up"):
        FrameBatch(frames[:1], (0,), warm_up(frames[..., 1:]))
