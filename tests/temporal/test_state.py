"""The state of a shot survives being written to a file."""

from pathlib import Path

import pytest
import torch

from vidx4.frames import Box
from vidx4.temporal.follow import Followed
from vidx4.temporal.noise import Role
from vidx4.temporal.state import ShotState, Tiles

HEIGHT, WIDTH = 6, 10


def state(dtype: torch.dtype, tiles: Tiles | None = None) -> ShotState:
    """Return a state of random values, whose hidden state has a type."""
    generator = torch.Generator().manual_seed(3)
    last = Followed(
        torch.randint(256, (3, HEIGHT, WIDTH), dtype=torch.uint8, generator=generator),
        Box(0, HEIGHT, 0, WIDTH),
        {Role.LATENTS: torch.randn(4, HEIGHT, WIDTH, generator=generator)},
    )
    upscaled = torch.randint(256, (3, 4 * HEIGHT, 4 * WIDTH), dtype=torch.uint8, generator=generator)
    latents = torch.randn(1, 48, HEIGHT, WIDTH, generator=generator)
    hidden = torch.randn(64, HEIGHT, WIDTH, generator=generator).to(dtype)
    raw = torch.randn(3, 4 * HEIGHT, 4 * WIDTH, generator=generator).to(dtype)
    return ShotState(last, upscaled, latents, hidden, tiles, raw)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_loaded_state_equals_the_saved_one(dtype: torch.dtype, tmp_path: Path) -> None:
    saved = state(dtype)
    saved.save(tmp_path / "state")
    loaded = ShotState.load(tmp_path / "state")
    for name in ("upscaled", "latents", "hidden", "raw"):
        assert torch.equal(getattr(loaded, name), getattr(saved, name))
    assert loaded.hidden is not None
    assert loaded.raw is not None
    assert loaded.hidden.dtype == loaded.raw.dtype == dtype
    assert torch.equal(loaded.last.low_res, saved.last.low_res)
    assert torch.equal(loaded.last.noise[Role.LATENTS], saved.last.noise[Role.LATENTS])
    assert loaded.tiles is None


def test_tiles_are_loaded_as_they_were_saved(tmp_path: Path) -> None:
    saved = Tiles(torch.rand(2, 3, 24, 24), torch.empty(2, 0), torch.rand(2, 64, 6, 6).bfloat16())
    state(torch.bfloat16, saved).save(tmp_path / "state")
    loaded = ShotState.load(tmp_path / "state").tiles
    assert loaded is not None
    for actual, expected in zip(loaded, saved, strict=True):
        assert actual.dtype == expected.dtype
        assert torch.equal(actual, expected)


def test_equal_states_give_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        state(torch.bfloat16).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_state_without_a_hidden_state_stays_so(tmp_path: Path) -> None:
    bare = state(torch.bfloat16)
    ShotState(bare.last, bare.upscaled).save(tmp_path / "state")
    loaded = ShotState.load(tmp_path / "state")
    assert loaded.latents is loaded.hidden is None
