"""A model's states are what it says they are, and others are refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers import Load
from vidx4.diffusion.upscaler import Upscaler
from vidx4.frames import FrameBatch


def frames(count: int = 2, height: int = 26, width: int = 36, dtype: torch.dtype = torch.uint8) -> FrameBatch:
    generator = torch.Generator().manual_seed(1)
    data = (torch.rand(count, 3, height, width, generator=generator) * 255).to(dtype)
    return FrameBatch(data, tuple(range(count)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_inference_steps": 2},
        {"temporal": "off"},
        {"temporal": "fixed", "consistency": 0.2},
        {"tile_size": 32, "dtype": "bfloat16"},
        {"num_inference_steps": 1, "consistency": 0.2},
    ],
    ids=str,
)
def test_a_state_is_as_it_is_described(options: dict[str, Any], load: Load, tmp_path: Path) -> None:
    upscaler = load(**options)
    for dtype in (torch.uint8, torch.uint16):
        state = upscaler(frames(dtype=dtype)).state
        assert state is not None
        assert upscaler.state_spec.difference(state.tensors, 36, 26, dtype) == ""
        state.save(tmp_path / "state")
        assert upscaler.state_spec.is_state(tmp_path / "state", 36, 26, dtype)


def test_a_foreign_state_is_refused(load: Load, stream_folder: Path) -> None:
    upscaler, batch = load(), frames(1)
    state = upscaler(batch).state
    assert state is not None
    for other in (frames(1, 26, 40), frames(1, dtype=torch.uint16)):
        with pytest.raises(ValueError, match="is uint8"):
            upscaler(other, state)
    stream = Upscaler.load(str(stream_folder), device="cpu", dtype="float32", num_inference_steps=1)
    with pytest.raises(ValueError, match="raw is missing"):
        stream(batch, state)
    for name, change in (("raw", {"raw": None}), ("hidden", {"hidden": torch.zeros(1)})):
        own = stream(batch).state
        assert own is not None
        with pytest.raises(ValueError, match=name):
            stream(batch, replace(own, **change))


def test_a_state_that_is_needed_may_not_be_missing(load: Load) -> None:
    upscaler, batch = load(), frames()
    followed = upscaler.follow(batch)
    with pytest.raises(ValueError, match="needs the state"):
        upscaler(followed[1:])
    upscaler(followed)


def test_a_batch_is_not_empty() -> None:
    with pytest.raises(ValueError, match="a frame or more"):
        FrameBatch(torch.empty(0, 3, 8, 8, dtype=torch.uint8), ())
    with pytest.raises(ValueError, match="a frame or more"):
        FrameBatch.of([])
