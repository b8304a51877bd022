"""The bundled model's network and its autoencoder."""

from typing import cast

import pytest
import torch

from vidx4.diffusion.compact import CompactDenoiser, ResidualAutoencoder


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
    assert latents.shape == (2, 48, 12, 16)
    torch.testing.assert_close(autoencoder.decode(latents, low_res), high_res, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_latents_have_no_influence_at_the_last_timestep(denoiser: CompactDenoiser) -> None:
    low_res = torch.rand(1, 3, 12, 16)
    samples = [torch.cat([torch.randn(1, 48, 12, 16), low_res], 1) for _ in range(2)]
    last = [denoiser(sample, torch.tensor(999))[0] for sample in samples]
    before = [denoiser(sample, torch.tensor(749))[0] for sample in samples]
    assert torch.equal(last[0], last[1])
    assert not torch.equal(before[0], before[1])


@torch.inference_mode()
def test_far_pixels_have_no_influence(denoiser: CompactDenoiser) -> None:
    """No normalisation ties the picture together: what is beyond the convolutions' reach changes nothing."""
    sample = torch.rand(1, 51, 40, 40)
    changed = sample.clone()
    changed[..., 30:, 30:] += 1
    results = [denoiser(x, torch.tensor(500))[0] for x in (sample, changed)]
    assert torch.equal(results[0][..., :20, :20], results[1][..., :20, :20])
    assert not torch.equal(results[0], results[1])


def test_saves_and_loads(denoiser: CompactDenoiser, tmp_path: object) -> None:
    denoiser.save_pretrained(tmp_path)
    loaded = CompactDenoiser.from_pretrained(tmp_path)
    sample = torch.rand(1, 51, 8, 8)
    assert torch.equal(loaded(sample, torch.tensor(3))[0], denoiser(sample, torch.tensor(3))[0])
