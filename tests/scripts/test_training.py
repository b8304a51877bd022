"""Training: sequences and their motion, and runs that continue after an interruption."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.evaluate.metrics import Lpips
from scripts.training.config import Config
from scripts.training.degrade import QUANTIZERS, degrade, transcode
from scripts.training.scenes import make_scene
from scripts.training.sequences import Frame, Pool
from scripts.training.stream import ROLLOUTS, Batch, Rollout, Stream
from scripts.training.trainer import LAST, Trainer, make_schedulers
from vidx4.diffusion.bicubic import enlarge
from vidx4.temporal.warp import Warp

CONFIG = Config(
    num_steps=6,
    width=16,
    num_blocks=1,
    warmup=1,
    batch_size=4,
    side=16,
    num_frames=3,
    pool_size=5,
    clean_share=0.5,
    alone_share=0.0,
    rollout_share=0.5,
    adversarial_weight=0.1,
    temporal_weight=0.1,
)


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (90, 120, 3), np.uint8).repeat(2, 0).repeat(2, 1) for _ in range(3)]


@pytest.fixture
def make_pool(photos: list[np.ndarray], tmp_path: Path) -> Callable[[Config], Pool]:
    return lambda config: Pool(photos, config, tmp_path)


def test_a_scene_is_a_function_of_its_seed(photos: list[np.ndarray]) -> None:
    scenes = [make_scene(lambda: photos[0], np.random.default_rng(seed), 4, 64) for seed in (3, 3, 4)]
    assert scenes[0].shape == (4, 64, 64, 3)
    assert np.array_equal(scenes[0], scenes[1])
    assert not np.array_equal(scenes[0], scenes[2])


@pytest.mark.parametrize("codec", QUANTIZERS)
def test_worse_quantizers_leave_less(photos: list[np.ndarray], codec: str) -> None:
    frames = np.stack([photos[0][i : i + 48, i : i + 64] for i in range(4)])
    best, worst = (transcode(frames, codec, quantizer) for quantizer in QUANTIZERS[codec])
    assert best.shape == worst.shape == frames.shape
    errors = [np.abs(coded.astype(int) - frames).mean() for coded in (best, worst)]
    assert errors[0] < errors[1]


def test_damage_grows_with_its_severity(photos: list[np.ndarray]) -> None:
    frames = np.stack([photos[0][:64, i : i + 64] for i in range(3)])
    undamaged = degrade(frames, 1e-6, np.random.default_rng(1))

    def damage(severity: float) -> float:
        damaged = [degrade(frames, severity, np.random.default_rng(seed)) for seed in range(8)]
        return float(np.mean([np.abs(each.astype(int) - undamaged).mean() for each in damaged]))

    assert damage(0.1) < damage(0.4) < damage(1.0)


def test_the_first_frame_of_a_sequence_has_no_past(make_pool: Callable[[Config], Pool]) -> None:
    frame = make_pool(CONFIG).frame(0, 0)
    assert not frame.trust.any()
    assert torch.equal(frame.truth, frame.previous_truth)


@pytest.mark.parametrize("way", range(8))
def test_a_rotated_frame_has_the_same_motion(way: int) -> None:
    """Warping by the rotated motion equals rotating what is warped by the motion."""
    generator = torch.Generator().manual_seed(0)
    last = torch.rand(3, 8, 8, generator=generator)
    flow = torch.rand(2, 8, 8, generator=generator) * 4 - 2
    frame = Frame(last, last, last, flow, torch.ones(8, 8))
    turned = frame.turned(way)

    def fetched(of: Frame) -> torch.Tensor:
        return Warp.along(of.flow[None], of.trust[None, None], 1).fetch(of.low_res[None])[0]

    expected = Frame(fetched(frame), last, last, flow, torch.ones(8, 8)).turned(way).truth
    torch.testing.assert_close(fetched(turned), expected, rtol=0, atol=1e-5)


def test_slots_go_through_their_sequences_frame_by_frame(make_pool: Callable[[Config], Pool]) -> None:
    stream = Stream(make_pool(CONFIG), CONFIG)
    batches = [stream[step] for step in range(4)]
    for slot in range(CONFIG.batch_size):
        for before, after in pairwise(batches):
            if after.trust[slot].any():
                assert torch.equal(after.previous_truth[slot], before.truth[slot])
    assert sum(int(batch.trust[0].any()) for batch in batches) > 1


@pytest.mark.parametrize("num_steps", ROLLOUTS)
def test_rollouts_have_the_timesteps_of_the_scheduler(num_steps: int) -> None:
    scheduler, _ = make_schedulers()
    scheduler.set_timesteps(num_steps)
    timesteps = [Rollout(num_steps, index).timestep for index in range(1, num_steps)]
    assert timesteps == scheduler.timesteps[1:].tolist()


def test_an_interrupted_run_continues_bit_for_bit(
    make_pool: Callable[[Config], Pool], tmp_path: Path
) -> None:
    stream = Stream(make_pool(CONFIG), CONFIG)
    batches = [stream[step] for step in range(4)]
    straight = trained(CONFIG, batches)
    first = trained(CONFIG, batches[:2])
    first.save(tmp_path / "checkpoint.pt")
    second = new_trainer(CONFIG)
    second.load(tmp_path / "checkpoint.pt")
    for batch in batches[2:]:
        second.train_step(batch)
    assert second.step == 4
    for a, b in zip(straight.average.parameters(), second.average.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    new_trainer(CONFIG).save(tmp_path / "checkpoint.pt")
    with pytest.raises(SystemExit, match=r"checkpoint\.pt"):
        new_trainer(replace(CONFIG, seed=1)).load(tmp_path / "checkpoint.pt")


def test_the_loss_falls(make_pool: Callable[[Config], Pool]) -> None:
    config = replace(CONFIG, adversarial_weight=0, temporal_weight=0, num_steps=200, learning_rate=2e-3)
    stream = Stream(make_pool(config), config)
    trainer = new_trainer(config)
    losses = [trainer.train_step(stream[step % 6])["pixels"] for step in range(36)]
    assert sum(losses[-6:]) < 0.95 * sum(losses[:6])


def test_each_kind_of_timestep_has_its_own_perceptual_weight(
    make_pool: Callable[[Config], Pool],
) -> None:
    """Untrained, the network predicts nothing, so the pictures are plain enlargements."""
    config, lpips = replace(CONFIG, perceptual_weight=2.0, first_perceptual_weight=0.5), Lpips()
    batch = Stream(make_pool(config), config)[0]
    truth, low_res = (frames.float() / 255 for frames in (batch.truth, batch.low_res))
    with torch.inference_mode():
        distances = lpips((enlarge(2 * low_res - 1) + 1) / 2, truth)
    is_texture = batch.timestep < LAST
    expected = 2.0 * distances[is_texture].mean() + 0.5 * distances[~is_texture].mean()
    losses = Trainer(config, torch.device("cpu"), lpips, is_compiled=False).train_step(batch)
    assert losses["perceptual"] == pytest.approx(float(expected), rel=0.01)  # bfloat16, where it is fast


def new_trainer(config: Config) -> Trainer:
    return Trainer(config, torch.device("cpu"), None, is_compiled=False)


def trained(config: Config, batches: list[Batch]) -> Trainer:
    trainer = new_trainer(config)
    for batch in batches:
        trainer.train_step(batch)
    return trainer
