"""The bundled model's denoiser, its autoencoder and its memory."""

from itertools import combinations
from typing import cast

import pytest
import torch

from vidx4.diffusion.models.networks.compact_denoiser import (
    CONDITION_CHANNELS,
    HIDDEN_CHANNELS,
    LATENT_CHANNELS,
    UNKNOWN_LEVEL,
    CompactDenoiser,
    Memory,
    ResidualAutoencoder,
)

ROUNDING = 1e-4
"""How far apart the sums of two algorithms may be: Winograd's rounds more than plain sums do."""
SAMPLE_CHANNELS = LATENT_CHANNELS + CONDITION_CHANNELS


@pytest.fixture
def denoiser() -> CompactDenoiser:
    model = CompactDenoiser(width=16, num_blocks=2)
    torch.nn.init.normal_(model.conv_out.weight, std=0.1)
    model.eval()
    return cast(CompactDenoiser, model)


def test_decoding_undoes_encoding() -> None:
    autoencoder = ResidualAutoencoder()
    high_res, low_res = torch.rand(2, 3, 48, 64) * 2 - 1, torch.rand(2, 3, 12, 16) * 2 - 1
    latents = autoencoder.encode(high_res, low_res)
    assert latents.shape == (2, LATENT_CHANNELS, 12, 16)
    torch.testing.assert_close(autoencoder.decode(latents, low_res), high_res, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_latents_are_ignored_at_the_last_timestep(denoiser: CompactDenoiser) -> None:
    conditions = torch.rand(1, CONDITION_CHANNELS, 12, 16)
    samples = [torch.cat([torch.randn(1, LATENT_CHANNELS, 12, 16), conditions], 1) for _ in range(2)]
    last = [denoiser(sample, torch.tensor(999))[0] for sample in samples]
    before = [denoiser(sample, torch.tensor(749))[0] for sample in samples]
    assert torch.equal(last[0], last[1])
    assert not torch.equal(before[0], before[1])


@torch.inference_mode()
def test_pixels_beyond_the_reach_have_no_influence(denoiser: CompactDenoiser) -> None:
    """No normalisation makes pixels depend on those beyond the reach of the convolutions, but by rounding."""
    sample = torch.rand(1, SAMPLE_CHANNELS, 40, 40)
    changed = sample.clone()
    changed[..., 30:, 30:] += 1
    results = [denoiser(x, torch.tensor(500))[0] for x in (sample, changed)]
    near = [result[..., :20, :20] for result in results]
    torch.testing.assert_close(near[0], near[1], rtol=0, atol=ROUNDING)
    assert (results[0] - results[1]).abs().max() > 0.1


@torch.inference_mode()
def test_the_hidden_state_is_bounded_and_affects_the_next_prediction(denoiser: CompactDenoiser) -> None:
    sample = torch.randn(1, SAMPLE_CHANNELS, 12, 16)
    latents, hidden = denoiser(sample, torch.tensor(999))
    assert hidden.shape == (1, HIDDEN_CHANNELS, 12, 16)
    assert hidden.abs().max() <= 1
    following = torch.cat([sample[:, :-HIDDEN_CHANNELS], hidden], dim=1)
    assert not torch.equal(denoiser(following, torch.tensor(999))[0], latents)


def test_memory_holds_the_latents_and_the_hidden_state_of_what_is_trusted() -> None:
    autoencoder = ResidualAutoencoder()
    high_res, low_res = torch.rand(1, 3, 48, 64) * 2 - 1, torch.rand(1, 3, 12, 16) * 2 - 1
    hidden, trust = torch.rand(1, HIDDEN_CHANNELS, 12, 16), torch.ones(1, 1, 12, 16)
    trust[..., 8:] = 0
    latents, middle, remembered = Memory(autoencoder)(high_res, hidden, trust, low_res).split(
        [LATENT_CHANNELS, 1, HIDDEN_CHANNELS], dim=1
    )
    assert torch.equal(middle, trust)
    assert torch.equal(latents, autoencoder.encode(high_res, low_res) * trust)
    assert torch.equal(remembered, hidden * trust)


def test_a_blank_memory_equals_one_without_trust() -> None:
    low_res = torch.rand(2, 3, 12, 16)
    memory = Memory(ResidualAutoencoder())
    hidden = torch.rand(2, HIDDEN_CHANNELS, 12, 16)
    untrusted = memory(torch.rand(2, 3, 48, 64), hidden, torch.zeros(2, 1, 12, 16), low_res)
    assert torch.equal(memory.blank(low_res), untrusted)


def test_a_saved_denoiser_loads_unchanged(denoiser: CompactDenoiser, tmp_path: object) -> None:
    denoiser.save_pretrained(tmp_path)
    loaded = CompactDenoiser.from_pretrained(tmp_path)
    sample = torch.rand(1, SAMPLE_CHANNELS, 8, 8)
    assert torch.equal(loaded(sample, torch.tensor(3))[0], denoiser(sample, torch.tensor(3))[0])


@torch.inference_mode()
def test_latents_may_be_left_out_at_the_last_timestep(denoiser: CompactDenoiser) -> None:
    conditions, t = torch.rand(2, CONDITION_CHANNELS, 12, 16), torch.tensor(999)
    sample = torch.cat([torch.randn(2, LATENT_CHANNELS, 12, 16), conditions], 1)
    for a, b in zip(denoiser(sample, t), denoiser(conditions, t), strict=True):
        assert torch.equal(a, b)


@torch.inference_mode()
def test_timesteps_of_a_batch_may_differ(denoiser: CompactDenoiser) -> None:
    sample, timesteps = torch.rand(2, SAMPLE_CHANNELS, 12, 16), torch.tensor([999, 500])
    both = denoiser(sample, timesteps)[0]
    for i in range(2):
        alone = denoiser(sample[i : i + 1], timesteps[i])[0]
        torch.testing.assert_close(both[i : i + 1], alone, rtol=0, atol=ROUNDING)


@torch.inference_mode()
def test_level_and_texture_change_the_prediction(denoiser: CompactDenoiser) -> None:
    for name, parameter in denoiser.named_parameters():
        if "film" in name or name.startswith(("texture", "unknown")):
            torch.nn.init.normal_(parameter, std=0.1)
    sample, t = torch.rand(1, SAMPLE_CHANNELS, 12, 16), torch.tensor(999)
    known = [{"class_labels": torch.tensor([level])} for level in (0, 60, UNKNOWN_LEVEL)]
    chosen = [*known, {"texture": torch.tensor([0.5])}, {"texture": torch.tensor([1.0])}]
    results = [denoiser(sample, t, **each)[0] for each in chosen]
    assert all(not torch.equal(a, b) for a, b in combinations(results, 2))
    assert torch.equal(results[0], denoiser(sample, t, texture=torch.tensor([0.0]))[0])


def test_the_prediction_is_that_of_training(denoiser: CompactDenoiser) -> None:
    """For one frame, and without gradients, kernels are scaled in place of features."""
    for name, parameter in denoiser.named_parameters():
        if "film" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    sample, t = torch.rand(1, SAMPLE_CHANNELS, 12, 16), torch.tensor(999)
    expected = denoiser(sample, t, class_labels=torch.tensor([60]))
    with torch.inference_mode():
        result = denoiser(sample, t, class_labels=torch.tensor([60]))
    for a, b in zip(result, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=ROUNDING)
