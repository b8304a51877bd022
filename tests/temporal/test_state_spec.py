"""Only a file that a model can have written for frames of a size counts as the state of a shot."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vidx4.frames import Box
from vidx4.temporal.follow import Followed
from vidx4.temporal.noise import NoiseSpec, Role
from vidx4.temporal.particles import MovingNoise
from vidx4.temporal.state import ShotState, Tiles
from vidx4.temporal.state_spec import StateSpec

HEIGHT, WIDTH, PADDED = 5, 10, 6
PIXELS = torch.uint8
NOISE = (NoiseSpec(Role.LATENTS, 4),)
SPEC = StateSpec(NOISE, True, (1, 48), 64, True, torch.bfloat16, 2)
TILE = 4, 6


def state() -> ShotState:
    noise = MovingNoise(0, NOISE, PADDED, WIDTH)
    particles = noise.start()
    low_res = torch.zeros(3, PADDED, WIDTH, dtype=PIXELS)
    last = Followed(low_res, Box(0, HEIGHT, 0, WIDTH), noise.fields(particles), particles)
    pixels, latents = torch.rand(2, 3, 16, 24), torch.rand(2, 1, 48, *TILE)
    return ShotState(
        last,
        torch.zeros(3, 4 * HEIGHT, 4 * WIDTH, dtype=PIXELS),
        torch.rand(1, 48, PADDED, WIDTH),
        torch.rand(64, PADDED, WIDTH).bfloat16(),
        Tiles(pixels, latents, torch.rand(2, 64, *TILE).bfloat16()),
        torch.rand(3, 4 * PADDED, 4 * WIDTH).bfloat16(),
    )


def is_state(path: Path, spec: StateSpec = SPEC, width: int = WIDTH, pixels: torch.dtype = PIXELS) -> bool:
    return spec.is_state(path, width, HEIGHT, pixels)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    state().save(tmp_path / "state")
    return tmp_path / "state"


def test_a_state_is_one_of_its_model_and_size_only(path: Path) -> None:
    assert is_state(path)
    assert not is_state(path, width=WIDTH + 2)
    assert not is_state(path, pixels=torch.uint16)
    for change in ({"latents": None}, {"hidden": None}, {"has_raw": False}, {"has_particles": False}):
        assert not is_state(path, replace(SPEC, **change)), change
    assert not is_state(path, replace(SPEC, dtype=torch.float32))


@pytest.mark.parametrize("name", [name for name in state().tensors if not name.startswith("tiles")])
def test_nothing_may_be_missing_of_another_shape_or_type_or_not_finite(name: str, path: Path) -> None:
    whole, changes = load_file(path), list[Tensor | None]([None])
    tensor = whole[name]
    changes += [tensor[..., :-1], tensor.double(), tensor[None]]
    if tensor.is_floating_point():
        changes += [tensor.half(), tensor * math.nan, tensor / 0]
    for change in changes:
        others = {key: value for key, value in whole.items() if key != name}
        save_file(others if change is None else others | {name: change.contiguous()}, path)
        assert not is_state(path), change


@pytest.mark.parametrize(
    "change",
    [
        {"evil": torch.zeros(1)},
        {"tiles.pixels": torch.zeros(2, 3, 16, 28)},
        {"tiles.pixels": torch.zeros(())},
        {"tiles.latents": torch.zeros(2, 0)},
        {"tiles.hidden": torch.zeros(2, 64, *TILE)},
        {"particles.places": torch.full((2, 4 * PADDED * WIDTH), 1e6)},
        {"particles.weights": torch.zeros(4 * PADDED * WIDTH)},
    ],
    ids=lambda change: " ".join(change),
)
def test_foreign_tensors_are_no_state(change: dict[str, Tensor], path: Path) -> None:
    save_file(load_file(path) | change, path)
    assert not is_state(path)


def test_tiles_may_be_missing_but_only_all_of_them(path: Path) -> None:
    whole = load_file(path)
    save_file({key: value for key, value in whole.items() if not key.startswith("tiles")}, path)
    assert is_state(path)
    save_file({key: value for key, value in whole.items() if key != "tiles.latents"}, path)
    assert not is_state(path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"\x10\0\0\0\0\0\0\0" + b"{" * 16])
def test_other_files_are_no_state(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    assert not is_state(path)
