"""Rendering of shots: repeated input is computed once, and splitting or resuming changes no result."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests import sd_x4
from tests.helpers import Load, load_with_hidden_state
from tests.moving import pan
from vidx4.diffusion import render
from vidx4.diffusion.models.networks import convolution
from vidx4.diffusion.models.networks.compact_denoiser import CompactDenoiser
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import OptionError
from vidx4.frames import FrameBatch
from vidx4.temporal.state import ShotState


def upscaled(upscaler: Upscaler, frames: Tensor, sizes: Sequence[int], folder: Path | None = None) -> Tensor:
    """Enlarge a shot in batches of the given sizes; with a folder, its state is saved and loaded between."""
    state: ShotState | None = None
    results, start = [], 0
    for size in sizes:
        batch = FrameBatch(frames[start : start + size], tuple(range(start, start + size)))
        result = upscaler(batch, state)
        results.append(result.batch.data)
        state, start = result.state, start + size
        if folder is not None and state is not None:
            state.save(folder / "state.safetensors")
            state = ShotState.load(folder / "state.safetensors")
    assert start == len(frames)
    return torch.cat(results)


def difference(a: Tensor, b: Tensor) -> int:
    return int((a.int() - b.int()).abs().max())


def clip() -> Tensor:
    """Return a slow pan with a repeated frame and one in which only a corner changes, (6, 3, 32, 40)."""
    frames = pan(6, 1.3, 0.6)[:, :, 20:52, 30:70].clone()
    frames[3] = frames[2]
    frames[5] = frames[4]
    frames[5, :, :6, :6] += 30
    return frames


MODES: list[dict[str, Any]] = [
    {"temporal": "off", "num_inference_steps": 1},
    {"temporal": "fixed", "num_inference_steps": 1},
    {"temporal": "moving", "num_inference_steps": 1},
    {"temporal": "moving", "num_inference_steps": 3},
    {"temporal": "fixed", "num_inference_steps": 2, "consistency": 0.5, "tile_size": 32},
]


@pytest.mark.slow
@pytest.mark.parametrize("options", MODES, ids=lambda options: " ".join(map(str, options.values())))
def test_splitting_a_shot_changes_no_bit(load: Load, options: dict[str, Any], tmp_path: Path) -> None:
    upscaler = load(**options)
    whole = upscaled(upscaler, clip(), [2, 2, 2])
    assert torch.equal(upscaled(upscaler, clip(), [2, 2, 2], tmp_path), whole)
    assert torch.equal(upscaled(load(**options), clip(), [2, 2, 2]), whole)


@pytest.mark.slow
@pytest.mark.parametrize("options", MODES, ids=lambda options: " ".join(map(str, options.values())))
def test_the_batch_size_changes_only_rounding(load: Load, options: dict[str, Any]) -> None:
    upscaler = load(**options)
    results = [upscaled(upscaler, clip(), sizes) for sizes in ([6], [1] * 6, [4, 2])]
    assert difference(results[0], results[1]) <= 1
    assert difference(results[0], results[2]) <= 1


def test_the_batch_size_changes_latents_by_less_than_a_hundred_thousandth(tiny_folder: Path) -> None:
    upscaler = Upscaler.load(str(tiny_folder), device="cpu", num_inference_steps=4, consistency=0.5)
    frames = clip()[[0, 1, 2, 4]]
    together = upscaler(FrameBatch(frames, (0, 1, 2, 3))).state
    state = None
    for i in range(4):
        state = upscaler(FrameBatch(frames[i : i + 1], (i,)), state).state
    assert together is not None
    assert state is not None
    assert together.latents is not None
    torch.testing.assert_close(state.latents, together.latents, rtol=0, atol=1e-5)


def calls_of(upscaler: Upscaler) -> list[torch.Size]:
    """Return a list that will hold the shapes of all features that the denoiser turns into a prediction."""
    shapes: list[torch.Size] = []
    unet = upscaler.components.unet
    layer = unet.conv_hidden if isinstance(unet, CompactDenoiser) else unet.conv_out
    layer.register_forward_pre_hook(lambda _, inputs: shapes.append(inputs[0].shape))
    return shapes


@pytest.mark.parametrize("temporal", ["fixed", "moving"])
def test_a_repeated_frame_is_computed_once(load: Load, temporal: str) -> None:
    upscaler = load(temporal=temporal, num_inference_steps=1)
    shapes = calls_of(upscaler)
    twos = pan(3, 1.3, 0.6)[:, :, 20:52, 30:70].repeat_interleave(2, dim=0)
    result = upscaler(FrameBatch(twos, tuple(range(6))))
    assert sum(shape[0] for shape in shapes) == 3
    assert result.num_reused == 3
    assert torch.equal(result.batch.data[::2], result.batch.data[1::2])
    ones = upscaler(FrameBatch(twos[::2], (0, 2, 4))).batch.data
    assert torch.equal(result.batch.data[::2], ones)


def test_reuse_changes_no_pixel(load: Load) -> None:
    """Without propagation, a frame alone gives what it gives after others from which parts were reused."""
    upscaler = load(temporal="fixed", num_inference_steps=1)
    frames = clip()
    reused = upscaled(upscaler, frames, [1] * 6)
    for i, frame in enumerate(frames):
        alone = upscaler(FrameBatch(frame[None], (i,))).batch.data[0]
        assert difference(alone, reused[i]) <= 1


def test_without_temporal_ties_frames_are_independent(load: Load) -> None:
    upscaler = load(temporal="off", num_inference_steps=2)
    shapes = calls_of(upscaler)
    frames = pan(1, 0, 0)[:, :, 20:52, 30:70].expand(2, -1, -1, -1)
    result = upscaler(FrameBatch(frames, (0, 1)))
    assert sum(shape[0] for shape in shapes) == 2 * 2
    assert result.num_reused == 0
    assert not torch.equal(result.batch.data[0], result.batch.data[1])


def moving_object() -> Tensor:
    """Return a square that moves over a still picture, (5, 3, 96, 176)."""
    frames = pan(1, 0, 0)[:, :, 16:112, 8:184].repeat(5, 1, 1, 1)
    for i in range(5):
        frames[i, :, 40:52, 10 + 4 * i : 22 + 4 * i] = pan(1, 0, 0, "kodim23")[0, :, 40:52, 60:72]
    return frames


@pytest.mark.parametrize("options", [{}, {"tile_size": 32}], ids=str)
def test_still_areas_do_not_flicker_and_are_not_computed(options: dict[str, Any]) -> None:
    upscaler = Upscaler.load("compact", device="cpu", dtype="float32", **options)
    frames = moving_object()
    result = upscaler(FrameBatch(frames, tuple(range(5))))
    assert torch.equal(result.batch.data[..., 480:], result.batch.data[:1, ..., 480:].expand(5, -1, -1, -1))
    assert result.num_reused > (1.0 if options.get("tile_size") is None else 2.0)
    whole = upscaler(FrameBatch(frames[4:], (4,))).batch.data
    # The model's memory of earlier frames makes a difference, but not a visible one.
    assert (result.batch.data[4:].float() - whole.float()).abs().mean() < 1


@pytest.mark.slow
def test_tiles_of_sd_x4_are_reused_too(tiny_folder: Path) -> None:
    upscaler = Upscaler.load(str(tiny_folder), device="cpu", num_inference_steps=2, tile_size=48)
    frames = moving_object()
    result = upscaler(FrameBatch(frames, tuple(range(5))))
    assert 1.5 < result.num_reused < 4
    assert torch.equal(result.batch.data[..., 560:], result.batch.data[:1, ..., 560:].expand(5, -1, -1, -1))


def test_a_frame_in_one_tile_equals_the_whole_frame(load: Load) -> None:
    frames = FrameBatch(clip()[:2], (0, 1))
    whole, tiled = (load(tile_size=size)(frames).batch.data for size in (None, 48))
    assert difference(whole, tiled) <= 1


def test_tiles_of_another_size_are_not_reused(load: Load) -> None:
    """Tiles shrink if memory runs out in the middle of a shot."""
    frames = pan(1, 0, 0)[:, :, :56, :80].repeat(2, 1, 1, 1)
    frames[1, :, :4, :4] += 30
    state = after(load(tile_size=64, temporal="fixed"), frames[:1])
    smaller = after(load(tile_size=48, temporal="fixed"), frames[1:], state)
    assert smaller.share_reused == 0
    alone = after(load(tile_size=48, temporal="fixed"), frames[1:])
    assert difference(smaller.upscaled, alone.upscaled) <= 1


def test_blended_tiles_equal_the_whole_frame() -> None:
    """The reach of the bundled model is 14 pixels, less than the overlap of the tiles."""
    frames = pan(1, 0, 0)[:, :, :128, :192]
    whole, tiled = (
        Upscaler.load("compact", device="cpu", dtype="float32", tile_size=size)(FrameBatch(frames, (0,)))
        for size in (None, 96)
    )
    error = (whole.batch.data.float() - tiled.batch.data.float()).abs()
    assert error.mean() < 0.1
    assert error.max() <= 6


def test_similar_frames_are_reused_up_to_a_threshold(load: Load) -> None:
    frames = pan(1, 0, 0)[:, :, 20:52, 30:70].repeat(3, 1, 1, 1)
    frames[1, :, ::3] ^= 1
    frames[2] = frames[2] // 2
    exact, near = (
        load(num_inference_steps=1, reuse_threshold=value)(FrameBatch(frames, (0, 1, 2)))
        for value in (0.0, 0.5)
    )
    assert exact.num_reused == 0
    assert near.num_reused == 1
    assert torch.equal(near.batch.data[0], near.batch.data[1])


def test_similar_frames_do_not_drift() -> None:
    """In a slow fade each frame resembles the last, but is compared with the last one computed."""
    upscaler = Upscaler.load("compact", device="cpu", reuse_threshold=1.5)
    frames = torch.stack([torch.full((3, 24, 32), 100 + i, dtype=torch.uint8) for i in range(12)])
    result = upscaler(FrameBatch(frames, tuple(range(12))))
    levels = result.batch.data.float().mean(dim=(1, 2, 3))
    assert (levels - torch.arange(100, 112)).abs().max() < 2
    assert result.num_reused == 6


@pytest.mark.parametrize("depth", [torch.uint8, torch.uint16])
def test_ties_calm_a_noisy_still(depth: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    still = pan(1, 0, 0)[:, :, 20:52, 30:78].float()
    frames = still + 3 * torch.randn(4, 3, 32, 48, generator=generator)
    frames = (frames.clamp(0, 255) * (1 if depth == torch.uint8 else 257)).round().to(torch.int).to(depth)

    def flicker(**options: Any) -> float:
        upscaler = Upscaler.load("compact", device="cpu", dtype="float32", num_inference_steps=4, **options)
        return float(upscaler(FrameBatch(frames, (0, 1, 2, 3))).batch.data.float().std(dim=0).mean())

    alone, fixed = flicker(temporal="off"), flicker(temporal="fixed")
    moving, tied = flicker(temporal="moving", consistency=0.0), flicker(temporal="moving", consistency=0.4)
    assert fixed < alone
    assert moving < alone
    assert tied < 0.95 * moving


def test_consistency_is_refused_with_a_scheduler_that_draws_noise(tiny_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ancestral"
    pipeline = sd_x4.make_pipeline()
    pipeline.scheduler = pipeline.low_res_scheduler
    pipeline.save_pretrained(folder)
    assert Upscaler.load(str(folder), device="cpu").settings.consistency == 0
    with pytest.raises(OptionError, match="--scheduler"):
        Upscaler.load(str(folder), device="cpu", consistency=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temporal": "sideways"}, "--temporal .*'sideways'"),
        ({"consistency": 1.5}, "consistency"),
        ({"reuse_threshold": float("inf")}, "--reuse-threshold"),
        ({"tile_size": 8}, "--tile-size"),
        ({"temporal": "off", "consistency": 0.2}, "--consistency .*--temporal"),
        ({"temporal": "off", "reuse_threshold": 1.0}, "--reuse-threshold .*--temporal"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Upscaler.load("compact", device="cpu", **options)


def test_tiles_must_fit_the_model(tiny_folder: Path) -> None:
    with pytest.raises(OptionError, match="multiple of 8"):
        Upscaler.load(str(tiny_folder), device="cpu", tile_size=50)


def after(upscaler: Upscaler, frames: Tensor, state: ShotState | None = None) -> ShotState:
    """Return the state after some frames of a shot."""
    state = upscaler(FrameBatch(frames, tuple(range(len(frames)))), state).state
    assert state is not None
    return state


def hidden_of(state: ShotState) -> Tensor:
    assert state.hidden is not None
    return state.hidden


REMEMBERING: list[dict[str, Any]] = [
    {"dtype": "float32"},
    {"dtype": "bfloat16"},
    {"dtype": "bfloat16", "num_inference_steps": 3},
    {"dtype": "bfloat16", "tile_size": 32},
]
remembering = pytest.mark.parametrize(
    "options", REMEMBERING, ids=lambda each: " ".join(map(str, each.values()))
)


@remembering
def test_the_hidden_state_is_carried_across_batches_and_files(
    options: dict[str, Any], tmp_path: Path
) -> None:
    """A model that remembers computes one frame at a time, so batches don't even change the rounding."""
    upscaler = load_with_hidden_state(**options)
    whole = upscaled(upscaler, clip(), [6])
    assert torch.equal(upscaled(upscaler, clip(), [1] * 6), whole)
    assert torch.equal(upscaled(upscaler, clip(), [2, 3, 1], tmp_path), whole)


@remembering
def test_without_its_hidden_state_a_shot_would_continue_differently(options: dict[str, Any]) -> None:
    upscaler, frames = load_with_hidden_state(**options), clip()
    state = after(upscaler, frames[:2])
    forgetful = replace(state, hidden=torch.zeros_like(hidden_of(state)))
    remembered, forgotten = (after(upscaler, frames[2:3], each).upscaled for each in (state, forgetful))
    assert difference(remembered, forgotten) > 1


@remembering
def test_a_repeated_frame_leaves_the_hidden_state_as_it_was(options: dict[str, Any]) -> None:
    upscaler, frames = load_with_hidden_state(**options), clip()
    state = after(upscaler, frames[:3])
    assert torch.equal(hidden_of(after(upscaler, frames[3:4], state)), hidden_of(state))
    assert not torch.equal(hidden_of(after(upscaler, frames[4:5], state)), hidden_of(state))


def test_a_shot_starts_without_a_hidden_state() -> None:
    upscaler, frames = load_with_hidden_state(), clip()
    alone = after(load_with_hidden_state(), frames[:1])
    after(upscaler, clip().flip(3))  # another shot before the cut
    assert torch.equal(hidden_of(after(upscaler, frames[:1])), hidden_of(alone))
    assert not torch.equal(
        hidden_of(after(upscaler, frames[:1], after(upscaler, frames[4:5]))), hidden_of(alone)
    )


@pytest.mark.parametrize("options", [{}, {"tile_size": 32}], ids=str)
def test_the_hidden_state_of_still_areas_is_kept(options: dict[str, Any]) -> None:
    upscaler, frames = load_with_hidden_state(**options), moving_object()
    states = [after(upscaler, frames[:1])]
    for frame in frames[1:]:
        states.append(after(upscaler, frame[None], states[-1]))
    assert all(state.share_reused > 0.2 for state in states[1:])
    fields = torch.stack([hidden_of(state) for state in states])
    assert torch.equal(fields[..., 120:], fields[:1, ..., 120:].expand(5, -1, -1, -1))
    assert not torch.equal(fields[1, ..., :60], fields[0, ..., :60])


def test_boxes_give_the_hidden_state_of_the_whole_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    upscaler, frames = load_with_hidden_state(dtype="float32"), moving_object()
    # Winograd's rounding is another for each box, and rounding the picture to 8 bits makes more of it.
    monkeypatch.setattr(convolution, "_has_winograd", lambda _: False)
    boxed = after(upscaler, frames)
    monkeypatch.setattr(render, "WORTH_CUTTING", 0)
    whole = after(upscaler, frames)
    assert boxed.share_reused > whole.share_reused == 0
    torch.testing.assert_close(hidden_of(boxed), hidden_of(whole), rtol=0, atol=1e-4)
    assert difference(boxed.upscaled, whole.upscaled) <= 1


@pytest.mark.parametrize("options", [{"temporal": "off"}, {"temporal": "fixed"}, {"speed": "fast"}], ids=str)
def test_frames_that_do_not_look_back_keep_no_hidden_state(options: dict[str, Any]) -> None:
    assert after(load_with_hidden_state(**options), clip()).hidden is None


def test_a_model_without_a_hidden_state_keeps_none(tiny_folder: Path) -> None:
    upscaler = Upscaler.load(str(tiny_folder), device="cpu", num_inference_steps=1)
    assert after(upscaler, clip()[:2]).hidden is None
