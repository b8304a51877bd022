"""The evaluation of pictures and videos: kinds of damage, noise on flat areas, long runs, and the cache."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from scripts.evaluate import cache, methods
from scripts.evaluate.cache import Runner, keep_score
from scripts.evaluate.clips import from_picture, pan
from scripts.evaluate.drawings import load_drawings
from scripts.evaluate.flat_noise import FLOOR, flat_areas, flat_noise
from scripts.evaluate.long import QuarterScores, Row, markdown, score_quarters
from scripts.evaluate.methods import Run
from scripts.evaluate.reductions import KINDS_OF_OLD, REDUCTIONS
from vidx4.diffusion.options import AutoLevel

NOISE = 0.8
"""Standard deviation of the truth's noise, in 8-bit levels."""


@pytest.fixture(scope="module")
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def frames(rng: np.random.Generator) -> np.ndarray:
    picture = rng.integers(0, 256, (12, 16, 3), np.uint8).repeat(32, 0).repeat(32, 1)
    return from_picture("pan", picture, pan(3.0, 1.0), 5).frames[:, :192, :256]


@pytest.fixture(scope="module")
def planes(rng: np.random.Generator) -> np.ndarray:
    """Luma of two frames: a wall with a little noise on the left, texture on the right."""
    planes = 128 + rng.normal(0, NOISE, (2, 96, 128))
    planes[..., 64:] += rng.normal(0, 20, (2, 96, 64))
    return planes.astype(np.float32)


def test_texture_is_not_flat(planes: np.ndarray) -> None:
    flat = flat_areas(planes)
    assert flat[..., :48].all()
    assert not flat[..., 64:].any()


def test_flat_noise_is_that_of_the_truth(planes: np.ndarray) -> None:
    assert flat_noise(planes, planes) == 1


def test_flat_noise_grows_with_noise(planes: np.ndarray, rng: np.random.Generator) -> None:
    noise = rng.normal(0, 1, planes.shape).astype(np.float32)
    ratios = [flat_noise(planes + deviation * noise, planes) for deviation in (0.0, 0.5, 1.0, 2.0)]
    assert ratios == sorted(ratios)
    assert ratios[-1] == pytest.approx(np.hypot(NOISE, 2) / NOISE, rel=0.1)


def test_flat_noise_ignores_texture(planes: np.ndarray) -> None:
    noisy = planes.copy()
    noisy[..., 72:] += 10 * np.sign(noisy[..., 72:] - 128)
    assert flat_noise(noisy, planes) == pytest.approx(1, abs=0.02)


def test_flat_noise_of_a_drawing_is_finite(planes: np.ndarray) -> None:
    wall = np.full_like(planes, 128)
    assert flat_noise(wall, wall) == 0
    assert flat_noise(planes, wall) > NOISE / FLOOR / 2


def test_flat_noise_needs_flat_areas(planes: np.ndarray) -> None:
    assert np.isnan(flat_noise(planes[..., 72:], planes[..., 72:]))


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_are_deterministic(name: str, frames: np.ndarray) -> None:
    low_res = REDUCTIONS[name](frames)
    assert low_res.shape == (5, 48, 64, 3)
    assert np.array_equal(low_res, REDUCTIONS[name](frames))


@pytest.mark.parametrize("name", KINDS_OF_OLD)
def test_old_material_is_damaged_but_not_beyond_recognition(name: str, frames: np.ndarray) -> None:
    error = REDUCTIONS[name](frames).astype(float) - REDUCTIONS["clean"](frames)
    assert 2 < np.sqrt(np.square(error).mean()) < 40


def test_clips_of_drawings_take_those_held_out(tmp_path: Path) -> None:
    names = ["a.png", "b.png"]
    for i, name in enumerate(names):
        Image.new("RGB", (640, 400), (100 * i, 0, 0)).save(tmp_path / name)
    (held_out := tmp_path / "held_out.toml").write_text(f"drawings = {names}")
    clips = list(load_drawings(tmp_path, 3, held_out=held_out))
    assert [(clip.name, clip.is_pan, len(clip.frames)) for clip in clips] == [
        ("a_pan", True, 3),
        ("b_zoom", False, 3),
    ]


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setattr(cache, "in_child", lambda function, *arguments: function(*arguments))
    return Runner(tmp_path, under_load=True)


def test_a_cache_hit_equals_the_first_run(runner: Runner, frames: np.ndarray) -> None:
    clips = [frames[:2, :24, :32], frames[2:4, :24, :32]]
    first = runner.run("lanczos", clips)
    again = replace(runner, under_load=False).run("lanczos", clips)
    assert (first.from_cache, again.from_cache) == (False, True)
    assert np.array_equal(first.results, again.results)
    assert replace(again, results=[], from_cache=False) == replace(first, results=[])
    assert again.under_load


@pytest.mark.parametrize("other", ["method", "frames"])
def test_a_cache_tells_methods_and_frames_apart(runner: Runner, frames: np.ndarray, other: str) -> None:
    clip = frames[:2, :24, :32]
    runner.run("lanczos", [clip])
    if other == "method":
        assert not runner.run("bicubic", [clip]).from_cache
    else:
        assert not runner.run("lanczos", [clip + 1]).from_cache


def test_models_of_vidx4_are_not_cached(
    runner: Runner, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = Run([frames], [1.0], 1)
    monkeypatch.setattr(methods, "run", lambda method, clips, num_threads: computed)
    assert not runner.run("compact", [frames]).from_cache
    assert not list((runner.cache or Path()).iterdir())


def test_scores_are_computed_once(tmp_path: Path, frames: np.ndarray) -> None:
    scores = iter([QuarterScores([1.0], [0.5], [2.0]), QuarterScores([], [], [])])
    first, again = (keep_score(tmp_path, QuarterScores, [frames], lambda: next(scores)) for _ in range(2))
    assert first == again
    assert keep_score(tmp_path, QuarterScores, [frames + 1], lambda: next(scores)) != first


@pytest.mark.parametrize(
    ("setting", "option"),
    [
        ("steps=4", ("num_inference_steps", 4)),
        ("consistency=0.2", ("consistency", 0.2)),
        ("noise_level=auto", ("noise_level", AutoLevel())),
        ("noise_level=auto+20", ("noise_level", AutoLevel(20))),
        ("temporal=off", ("temporal", "off")),
    ],
)
def test_settings_are_options(setting: str, option: tuple[str, object]) -> None:
    assert methods.read_option(setting) == option


def test_quarters_show_what_piles_up(rng: np.random.Generator) -> None:
    wall = np.full((16, 64, 64, 3), 128, np.uint8)
    growing = wall + np.arange(16)[:, None, None, None] * rng.standard_normal((16, 64, 64, 1)) / 4
    scores = score_quarters(growing.round().clip(0, 255).astype(np.uint8), wall, _distance, every=2)
    assert len(scores.psnr_y) == len(scores.lpips) == len(scores.flat_noise) == 4
    assert scores.psnr_y == sorted(scores.psnr_y, reverse=True)
    assert scores.flat_noise == sorted(scores.flat_noise)
    row = Row("clean", "wall", "compact", replace(scores, flat_noise=[1.0, 1.0, 2.0, 3.0]), Run([], [], 0))
    assert "| 1.00 1.00 2.00 3.00 (+2.00) |" in markdown([row])


def _distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a - b).abs().mean()
