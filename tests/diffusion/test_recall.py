"""A model that is shown its last result carries it through a shot, and starts anew at a cut."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.moving import pan
from vidx4.diffusion.bicubic import enlarge
from vidx4.diffusion.options import Recall, UpscaleOptions
from vidx4.diffusion.recall import recall
from vidx4.diffusion.sampler import to_signal
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import OptionError
from vidx4.frames import Box, FrameBatch
from vidx4.temporal.follow import Followed
from vidx4.temporal.motion import Motion
from vidx4.temporal.noise import Role
from vidx4.temporal.state import ShotState

CPU = torch.device("cpu")
LoadStream = Callable[..., Upscaler]
WAYS: list[dict[str, Any]] = [{"recall": "reference"}, {"recall": "trusted"}, {"tile_size": 32}]
each_way = pytest.mark.parametrize("options", WAYS, ids=lambda each: " ".join(map(str, each.values())))


@pytest.fixture(scope="module")
def loaded(stream_folder: Path) -> Upscaler:
    return Upscaler.load(str(stream_folder), device="cpu", dtype="float32", num_inference_steps=1)


@pytest.fixture(scope="module")
def load_stream(loaded: Upscaler) -> LoadStream:
    """Return a function that gives the tiny model with options."""
    return lambda **options: loaded.with_options(replace(loaded.options, **options))


def clip() -> Tensor:
    """Return a slow pan with a repeated frame, (4, 3, 30, 40): the height is no multiple of the model's."""
    frames = pan(4, 1.3, 0.6)[:, :, 20:50, 30:70].clone()
    frames[3] = frames[2]
    return frames


def upscaled(
    upscaler: Upscaler, frames: Tensor, sizes: Sequence[int], folder: Path | None = None
) -> tuple[Tensor, ShotState]:
    """Enlarge a shot in batches of the given sizes; with a folder, its state is saved and loaded between."""
    state: ShotState | None = None
    results, start = [], 0
    for size in sizes:
        result = upscaler(FrameBatch(frames[start : start + size], tuple(range(start, start + size))), state)
        results.append(result.batch.data)
        state, start = result.state, start + size
        if folder is not None and state is not None:
            state.save(folder / "state.safetensors")
            height, width = frames.shape[2:]
            assert upscaler.state_spec.is_state(folder / "state.safetensors", width, height, frames.dtype)
            state = ShotState.load(folder / "state.safetensors")
    assert state is not None
    return torch.cat(results), state


@each_way
def test_batches_and_files_change_no_bit(
    options: dict[str, Any], load_stream: LoadStream, tmp_path: Path
) -> None:
    upscaler = load_stream(**options)
    whole, _ = upscaled(upscaler, clip(), [4])
    assert torch.equal(upscaled(upscaler, clip(), [1, 2, 1], tmp_path)[0], whole)


@pytest.mark.parametrize("way", list(Recall))
def test_the_raw_result_is_what_is_carried(way: Recall, load_stream: LoadStream) -> None:
    """It is not clamped, and without it, a shot would continue differently; at a cut, it does."""
    upscaler, frames = load_stream(recall=way), clip()
    _, state = upscaled(upscaler, frames[:1], [1])
    assert state.raw is not None
    assert state.raw.shape == (3, 128, 160)
    assert state.raw.abs().max() > 1.2
    batch = FrameBatch(frames[1:2], (1,))
    seen, unseen, cut = (
        upscaler(batch, before).batch.data.int()
        for before in (state, replace(state, raw=torch.zeros_like(state.raw)), None)
    )
    assert (seen - unseen).abs().max() > 1
    assert (seen - cut).abs().max() > 1


def test_a_repeated_frame_is_not_computed(load_stream: LoadStream) -> None:
    pixels, state = upscaled(load_stream(), clip(), [4])
    assert torch.equal(pixels[3], pixels[2])
    assert state.share_reused == 1.0


def test_every_frame_has_its_own_noise_unless_it_moves(load_stream: LoadStream) -> None:
    frames = FrameBatch(clip()[:2], (0, 1))
    first, second = load_stream(recall="reference").follow(frames).frames
    assert (first.noise[Role.LATENTS] - second.noise[Role.LATENTS]).abs().mean() > 1
    assert second.motion is not None
    first, second = load_stream(recall="trusted").follow(frames).frames
    assert second.particles is not None
    assert Role.LOW_RES not in first.noise


@pytest.mark.parametrize("temporal", ["off", "fixed"])
def test_frames_that_are_not_tied_by_motion_are_shown_nothing(temporal: str, load_stream: LoadStream) -> None:
    _, state = upscaled(load_stream(temporal=temporal), clip()[:2], [2])
    assert state.raw is None


def test_the_picture_that_is_not_trusted_is_bicubic() -> None:
    generator = torch.Generator().manual_seed(4)
    low_res = torch.randint(256, (3, 8, 16), dtype=torch.uint8, generator=generator)
    trust = torch.zeros(8, 16)
    trust[:, 8:] = 1
    still = torch.zeros(2, 8, 16)
    frame = Followed(low_res, Box(0, 8, 0, 16), {}, None, Motion(still, still, trust, trust))
    raw = 3 * torch.rand(3, 32, 64, generator=generator)
    shown = recall(raw, frame, Recall.TRUSTED, CPU).picture
    bicubic = enlarge(to_signal(low_res, CPU)[None])
    torch.testing.assert_close(shown[..., :28], bicubic[..., :28])
    torch.testing.assert_close(shown[0, ..., 36:], raw[..., 36:], rtol=0, atol=1e-4)
    # As it is published, it is moved as a whole, by half a pixel.
    moved = recall(raw, frame, Recall.REFERENCE, CPU).picture
    assert moved[0, 0, 0, 0] == pytest.approx(raw[0, 0, 0].item() / 4, abs=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache_interval": 2}, "--cache-interval must be 1"),
        ({"guidance_scale": 3.0}, "--guidance-scale must be 1"),
        ({"noise_level": 20}, "knows no noise level"),
        ({"noise_level": "auto+20"}, "knows no noise level"),
        ({"texture": 0.5}, "--texture must be 0"),
        ({"prompt": "a dog"}, "takes no prompt"),
        ({"decoder": "tiny"}, "only its own decoder"),
        ({"tile_size": 36}, "multiple of 8"),
        ({"recall": "trusted", "temporal": "fixed"}, "--recall needs --temporal moving"),
    ],
)
def test_options_without_effect_are_refused(
    options: dict[str, Any], message: str, load_stream: LoadStream
) -> None:
    with pytest.raises(OptionError, match=message):
        load_stream(**options)


@pytest.mark.parametrize("model", ["compact", "sd-x4 topology"])
def test_models_that_are_not_shown_their_results_refuse_recall(model: str, tiny_folder: Path) -> None:
    name = model if model == "compact" else str(tiny_folder)
    with pytest.raises(OptionError, match="--recall is for stream-diffvsr"):
        Upscaler.load(name, device="cpu", dtype="float32", recall="trusted")


def test_all_speeds_are_the_same(loaded: Upscaler) -> None:
    settings = [
        Upscaler(loaded.components, UpscaleOptions(loaded.options.model, speed=speed)).settings
        for speed in ("quality", "balanced", "fast")
    ]
    assert settings[0] == settings[1] == settings[2]
    assert settings[0].num_inference_steps == 4
    assert settings[0].recall is Recall.REFERENCE


def test_tiles_are_cautioned_against(load_stream: LoadStream, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert load_stream().fitted(40, 30).fit.batch_size == 1
        assert not caplog.records
        load_stream(tile_size=32).fitted(40, 30)
    assert "tiles differ from the whole frame" in caplog.text
