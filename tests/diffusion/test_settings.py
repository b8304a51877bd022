"""Speeds stand for settings, and settings that don't fit the model are refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from tests.moving import pan
from vidx4.diffusion.compiling import repays_compiling, why_not_compile
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import OptionError
from vidx4.frames import FrameBatch


def settings_of(model: str | Path, **options: Any) -> dict[str, Any]:
    return Upscaler.load(str(model), device="cpu", **options).settings.by_option()


def test_each_speed_of_sd_x4_costs_less_than_the_last(tiny_folder: Path) -> None:
    costs = []
    for speed in ("quality", "balanced", "fast"):
        chosen = settings_of(tiny_folder, speed=speed)
        guided = 1 + chosen["guidance-stop"]
        costs.append(chosen["steps"] * guided / chosen["cache-interval"])
    assert costs[0] > 2 * costs[1] > 2 * costs[2]


def test_an_option_overrides_the_speed(tiny_folder: Path) -> None:
    options: dict[str, Any] = {"num_inference_steps": 7, "scheduler": "dpmpp", "cache_interval": 3}
    chosen = settings_of(tiny_folder, speed="fast", guidance_stop=1.0, **options)
    found = [chosen[name] for name in ("steps", "scheduler", "cache-interval", "guidance-stop")]
    assert found == [7, "dpmpp", 3, 1.0]


def test_speeds_with_the_same_settings_are_the_same_job() -> None:
    assert settings_of("compact", speed="quality") == settings_of("compact", speed="balanced")
    assert settings_of("compact", speed="quality") != settings_of("compact", speed="fast")


def test_fast_compact_enlarges_each_frame_alone() -> None:
    """With one step, there is no noise that could make frames differ."""
    frames = FrameBatch(pan(3, 2.0, 1.0)[..., :48, :64], (0, 1, 2))
    fast = Upscaler.load("compact", device="cpu", speed="fast")(frames).batch.data
    alone = Upscaler.load("compact", device="cpu", temporal="off")(frames).batch.data
    remembering = Upscaler.load("compact", device="cpu")(frames).batch.data
    assert (fast.int() - alone.int()).abs().max() <= 1  # batches round differently
    assert (remembering.int() - alone.int()).abs().max() > 1


def test_texture_is_chosen_where_the_model_knows_it(tiny_folder: Path) -> None:
    frames = FrameBatch(pan(1, 0, 0)[..., :48, :64], (0,))
    near, rich = (
        Upscaler.load("compact", device="cpu", texture=texture)(frames).batch.data for texture in (0.0, 1.0)
    )
    assert (near.int() - rich.int()).abs().max() > 1
    assert settings_of(tiny_folder, texture=0.0)["texture"] == 0
    with pytest.raises(OptionError, match="--texture must be 0"):
        Upscaler.load(str(tiny_folder), device="cpu", texture=0.5)


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        ({"speed": "warp"}, "--speed.*'warp'.*quality, balanced, fast"),
        ({"scheduler": "euler"}, "--scheduler.*'euler'.*ddim, dpmpp, unipc"),
        ({"guidance_stop": 1.5}, "--guidance-stop.*0.*1"),
        ({"guidance_stop": 0.5}, "compact.*--guidance-stop"),
        ({"cache_interval": 0}, "--cache-interval.*1"),
        ({"cache_interval": 2}, "compact.*--cache-interval"),
        ({"texture": 1.5}, "--texture.*0.*1"),
        ({"noise_level": 151}, "compact.*--noise-level.*150"),
        ({"compile": "maybe"}, "--compile.*'maybe'.*auto, on, off"),
        ({"compile": "on"}, "--compile.*compact"),
    ],
)
def test_options_that_do_not_fit_compact_are_refused(options: dict[str, Any], facts: str) -> None:
    with pytest.raises(OptionError, match=facts):
        Upscaler.load("compact", device="cpu", **options)


@pytest.mark.parametrize("scheduler", ["ddim", "dpmpp", "unipc"])
def test_consistency_works_with_every_scheduler(scheduler: str) -> None:
    picture = pan(1, 0.0, 0.0)[..., :64, :96] // 2
    flicker = torch.tensor([0, 3, 1, 4], dtype=torch.uint8)[:, None, None, None]
    frames = FrameBatch(picture + flicker, (0, 1, 2, 3))

    def change(**options: Any) -> float:
        settings: dict[str, Any] = {"num_inference_steps": 4, "scheduler": scheduler, **options}
        upscaler = Upscaler.load("compact", device="cpu", **settings)
        return float(upscaler(frames).batch.data.float().diff(dim=0).abs().mean())

    assert change(consistency=0.6) < 0.8 * change(temporal="off")


def test_long_jobs_are_compiled_but_never_on_a_cpu(tiny_folder: Path) -> None:
    upscaler = Upscaler.load(str(tiny_folder), device="cpu")
    assert upscaler.settings.compile == "auto"
    assert upscaler.fitted(320, 240, num_frames=10**9).settings.compile == "off"
    gpu = replace(upscaler.components, device=torch.device("cuda"))
    assert repays_compiling(gpu, 20 * 1000, 320 * 240)
    assert not repays_compiling(gpu, 20 * 10, 320 * 240)
    with patch("vidx4.diffusion.compiling.find_spec", return_value=object()):
        assert not why_not_compile(gpu)
    with patch("vidx4.diffusion.compiling.find_spec", return_value=None):
        assert "Triton" in why_not_compile(gpu)


def test_each_job_decides_whether_the_denoiser_is_compiled(tiny_folder: Path) -> None:
    upscaler = Upscaler.load(str(tiny_folder), device="cpu", num_inference_steps=1, temporal="off")
    with patch.object(upscaler.components.denoiser, "compile") as compile_:
        upscaler(FrameBatch(pan(2, 2.0, 1.0)[..., :32, :40], (0, 1)))
    compile_.assert_called_once_with(None)


@pytest.mark.parametrize(
    ("options", "asked"), [({}, 20), ({"scheduler": "dpmpp", "num_inference_steps": 15}, 15)]
)
def test_more_steps_than_the_model_was_trained_with_are_refused(
    options: dict[str, Any], asked: int, tiny_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_train_timesteps": 10}))
    refused = rf"has only 10 timesteps, too few for --steps {asked}: --steps must be at most 10\."
    with pytest.raises(OptionError, match=refused):
        settings_of(folder, **options)
    assert settings_of(folder, num_inference_steps=10, scheduler="ddim")["steps"] == 10
