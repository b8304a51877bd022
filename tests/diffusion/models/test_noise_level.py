"""Estimates of the noise level: a function of the pictures, on a scale that options and models share."""

from pathlib import Path

import pytest
import torch

from tests.sd_x4 import save_model
from vidx4.diffusion.models.noise_level import MAX_TILES, ROUNDING, TILE, _tiles, estimate_noise_level
from vidx4.diffusion.models.registry import load
from vidx4.diffusion.options import LEVEL, AutoLevel, UpscaleOptions
from vidx4.diffusion.settings import Settings
from vidx4.errors import OptionError


def picture(height: int, width: int, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    values = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    return (values * torch.iinfo(dtype).max).to(torch.int32).to(dtype)


@pytest.mark.parametrize("size", [(1, 1), (20, 300), (47, 49), (130, 200)])
def test_an_estimate_is_a_round_level(size: tuple[int, int]) -> None:
    level = estimate_noise_level([picture(*size)])
    assert 0 <= level <= 150
    assert level % ROUNDING == 0
    assert estimate_noise_level([picture(*size)]) == level


def test_nothing_has_no_noise() -> None:
    assert estimate_noise_level([]) == 0


def test_flat_pictures_do_not_count() -> None:
    flat = [torch.full((3, 96, 96), value, dtype=torch.uint8) for value in (0, 16, 255)]
    assert estimate_noise_level(flat) == 0
    ramp = torch.linspace(20, 200, 96).expand(3, 96, 96)
    grain = 20 * torch.randn(ramp.shape, generator=torch.Generator().manual_seed(0))
    noisy = (ramp + grain).clamp(0, 255).to(torch.uint8)
    assert estimate_noise_level([*flat, noisy]) == estimate_noise_level([noisy]) > 0


def test_sixteen_bits_are_judged_like_eight() -> None:
    eight = picture(96, 96)
    deep = (eight.to(torch.int32) * 257).to(torch.uint16)
    assert estimate_noise_level([deep]) == estimate_noise_level([eight])


def test_tiles_of_all_contrasts_are_judged() -> None:
    strength = torch.arange(1, 4 * TILE + 1).div(4 * TILE).expand(3, 10 * TILE, -1)
    pixels = strength * (picture(10 * TILE, 4 * TILE).float() / 255 - 0.5)
    contrasts = _tiles(pixels).std(dim=(1, 2, 3))
    assert contrasts.shape == (MAX_TILES,)
    assert contrasts.sort().values.tolist() == pytest.approx(contrasts.tolist(), rel=0.01)
    assert contrasts[-1] > 5 * contrasts[0]


def test_tiles_that_show_nothing_are_not_judged() -> None:
    pixels = torch.zeros(3, 10 * TILE, 4 * TILE)
    pixels[:, 3 * TILE : 5 * TILE, TILE : 2 * TILE] = picture(2 * TILE, TILE).float() / 255
    assert _tiles(pixels).shape == (2, 3, TILE, TILE)


def test_tiles_reach_the_edges() -> None:
    pixels = picture(TILE + 20, 2 * TILE + 1).float() / 255
    tiles = _tiles(pixels)
    assert tiles.shape == (6, 3, TILE, TILE)
    for corner in (pixels[:, :TILE, :TILE], pixels[:, -TILE:, -TILE:]):
        assert any(torch.equal(tile, corner) for tile in tiles)


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("0", 0),
        ("55", 55),
        ("auto", AutoLevel()),
        ("auto+20", AutoLevel(20)),
        ("auto-10", AutoLevel(-10)),
    ],
)
def test_levels_are_read_as_they_are_written(text: str, level: int | AutoLevel) -> None:
    assert LEVEL.parse(text) == level
    assert LEVEL.format(level) == text


@pytest.mark.parametrize("text", ["", "auto20", "auto+", "auto+x", "automatic", "5.5", "-"])
def test_other_levels_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        LEVEL.parse(text)


def test_python_takes_levels_as_they_are_written() -> None:
    assert UpscaleOptions(noise_level="auto+20") == UpscaleOptions(noise_level=AutoLevel(20))
    with pytest.raises(OptionError, match="--noise-level takes a whole number, auto"):
        UpscaleOptions(noise_level="much")


def test_a_negative_level_is_refused() -> None:
    with pytest.raises(OptionError, match="noise-level must be 0 or more"):
        UpscaleOptions(noise_level=-1)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (AutoLevel(), 0),
        (AutoLevel(estimate=55), 55),
        (AutoLevel(20, 55), 75),
        (AutoLevel(-60, 55), 0),
        (AutoLevel(100, 55), 150),
        (30, 30),
    ],
)
def test_an_estimate_is_the_level_of_compact(level: int | AutoLevel, expected: int) -> None:
    components = load("compact", torch.device("cpu"), torch.float32)
    assert Settings.resolve(UpscaleOptions(noise_level=level), components).noise_level == expected


def test_an_offset_that_no_level_has_is_refused() -> None:
    components = load("compact", torch.device("cpu"), torch.float32)
    with pytest.raises(OptionError, match="has levels up to 150: --noise-level can't be auto"):
        Settings.resolve(UpscaleOptions(noise_level=AutoLevel(999)), components)


def test_other_models_take_a_share_of_an_estimate(tmp_path: Path) -> None:
    components = load(str(save_model(tmp_path)), torch.device("cpu"), torch.float32)
    levels = [AutoLevel(estimate=estimate) for estimate in (0, 100)]
    settings = [Settings.resolve(UpscaleOptions(noise_level=level), components) for level in levels]
    assert [each.noise_level for each in settings] == [20, 50]
