"""The autoencoder's memory is bounded, its tiles leave no seams, and its decoder fits half precision."""

from copy import deepcopy
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests import sd_x4
from tests.simulated_gpu import SimulatedGPU
from tests.simulated_gpu.models import VAE_WIDTHS
from vidx4.diffusion.models.networks.autoencoder import TiledAutoencoder
from vidx4.diffusion.models.networks.decoder_attention import AttentionReach
from vidx4.diffusion.models.networks.fp16 import shrink_stream
from vidx4.diffusion.models.networks.strip_decoder import StripDecoder

LEVEL = 2 / 255
"""One 8-bit level of a picture in [-1, 1]."""
PICTURE_STD = 0.5
"""Usual standard deviation of a picture in [-1, 1]; random weights decode to less."""
ROUNDING = 0.02 * LEVEL


@cache
def make_vae(widths: tuple[int, ...] = (16, 32, 64)) -> Any:
    torch.manual_seed(0)
    return sd_x4.make_vae(widths).eval()


@cache
def make_latents(height: int, width: int) -> Tensor:
    """Make latents of unit variance whose mean varies from place to place, as in a picture."""
    torch.manual_seed(1)
    smooth = F.interpolate(torch.randn(1, 4, 3, 3), (height, width), mode="bicubic")
    return (smooth + 0.3 * torch.randn(1, 4, height, width)) / 0.9


@torch.inference_mode()
def decode_whole(vae: Any, latents: Tensor) -> Tensor:
    decoded: Tensor = vae.decode((latents / vae.config.scaling_factor).to(vae.dtype)).sample
    return decoded.float()


@torch.inference_mode()
def decode_tiled(vae: Any, latents: Tensor, tile_size: int) -> Tensor:
    return TiledAutoencoder(vae, tile_size).decode(latents, latents)


def difference(actual: Tensor, expected: Tensor) -> float:
    """Return the largest difference between two pictures, scaled to the contrast of real ones."""
    return float((actual - expected).abs().max() / expected.std()) * PICTURE_STD


def test_a_picture_of_one_tile_decodes_as_in_diffusers() -> None:
    latents = make_latents(24, 32)
    assert torch.equal(decode_tiled(make_vae(), latents, 32), decode_whole(make_vae(), latents))


@pytest.mark.parametrize("tile_size", [32, 13])
@pytest.mark.parametrize(("height", "width"), [(50, 70), (90, 21)])
def test_a_larger_picture_decodes_as_without_tiles(height: int, width: int, tile_size: int) -> None:
    latents = make_latents(height, width)
    decoded = decode_tiled(make_vae(), latents, tile_size)
    assert difference(decoded, decode_whole(make_vae(), latents)) < ROUNDING


def test_layers_see_no_more_of_a_larger_picture() -> None:
    vae = deepcopy(make_vae())
    sizes: list[int] = []
    for module in vae.decoder.modules():
        if isinstance(module, torch.nn.Conv2d) and module is not vae.decoder.conv_in:
            module.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].numel()))

    def largest(height: int) -> int:
        sizes.clear()
        decode_tiled(vae, make_latents(height, 48), 16)
        return max(sizes)

    assert largest(96) == largest(48)
    widest, halo = 32, 4 * (4 * 48) * 2
    assert largest(48) <= widest * ((4 * 16) ** 2 + halo)


def test_tiles_can_be_made_smaller_later() -> None:
    latents = make_latents(30, 40)
    autoencoder = TiledAutoencoder(make_vae(), 64)
    with torch.inference_mode():
        before = autoencoder.decode(latents, latents)
        autoencoder.tile_size = 16
        after = autoencoder.decode(latents, latents)
    assert 0 < difference(after, before) < ROUNDING


def test_a_frame_decodes_the_same_in_any_batch() -> None:
    latents = torch.cat([make_latents(24, 32), make_latents(24, 32).flip(3), make_latents(24, 32).flip(2)])
    for tile_size in (64, 16):
        together = decode_tiled(make_vae(), latents, tile_size)
        alone = decode_tiled(make_vae(), latents[1:2], tile_size)
        assert difference(together[1:2], alone) < ROUNDING


def test_the_memory_estimate_grows_with_tiles_frames_and_pictures() -> None:
    decode_bytes = TiledAutoencoder(make_vae()).decode_bytes
    assert decode_bytes(32, 1, 32**2) < decode_bytes(64, 1, 64**2) < decode_bytes(64, 2, 64**2)
    assert decode_bytes(32, 1, 320 * 240) < decode_bytes(64, 1, 320 * 240) < decode_bytes(64, 1, 640 * 480)


@torch.inference_mode()
def test_attention_to_cells_of_one_latent_is_exact() -> None:
    vae, latents = make_vae(), make_latents(40, 56)
    decoder = StripDecoder(vae.decoder, 2**18, AttentionReach(near=32 * 32, block=16, pool=1))
    decoded = decoder.decode(vae.post_quant_conv(latents / vae.config.scaling_factor))
    assert difference(decoded, decode_whole(vae, latents)) < ROUNDING


def test_how_a_picture_is_cut_does_not_change_what_its_attention_sees() -> None:
    reach = AttentionReach(near=32 * 32, block=16, landmarks=16)
    latents = make_latents(56, 72)
    with torch.inference_mode():
        cut, whole, exact = (
            TiledAutoencoder(make_vae(), size, each).decode(latents, latents)
            for size, each in ((13, reach), (4096, reach), (4096, AttentionReach()))
        )
    assert difference(cut, whole) < ROUNDING
    assert difference(exact, whole) > ROUNDING


def make_simulated_vae(gpu: SimulatedGPU, dtype: torch.dtype) -> Any:
    """Make the autoencoder at its real size, without numbers."""
    with gpu.fake_mode, torch.device("cuda"):
        vae = sd_x4.make_vae(VAE_WIDTHS)
        return vae.half() if dtype == torch.float16 else vae


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize(
    ("width", "height", "tile_size"),
    [
        (320, 240, 2048),
        (320, 240, 256),
        (320, 240, 128),
        (640, 480, 2048),
        (640, 480, 512),
        (640, 480, 256),
        (640, 480, 128),
        (1920, 1080, 2048),
        (1920, 1080, 512),
    ],
)
def test_decoding_takes_the_memory_that_is_reckoned_and_never_waits(
    simulated_gpu: SimulatedGPU, width: int, height: int, tile_size: int, dtype: torch.dtype
) -> None:
    # Larger blocks take the same memory and spare the simulation most of its time.
    autoencoder = TiledAutoencoder(
        make_simulated_vae(simulated_gpu, dtype), tile_size, AttentionReach(block=256)
    )
    latents = torch.empty(1, 4, height, width, device="cuda")
    before = simulated_gpu.memory.live
    simulated_gpu.reset()
    with torch.inference_mode():
        autoencoder.decode(latents, latents)
    peak = simulated_gpu.memory.peaks["decode"] - before
    assert peak / 1.25 < autoencoder.decode_bytes(tile_size, 1, width * height) < 1.25 * peak
    assert simulated_gpu.waits["decode"] == 0


def test_a_shrunk_decoder_gives_the_same_picture() -> None:
    vae = deepcopy(make_vae())
    shrink_stream(vae.decoder)
    latents = make_latents(24, 24)
    assert difference(decode_whole(vae, latents), decode_whole(make_vae(), latents)) < ROUNDING


def make_loud_vae() -> Any:
    """Make an autoencoder whose residual stream exceeds float16, as in the published one."""
    vae = deepcopy(make_vae((64, 64, 128)))
    for name, parameter in vae.decoder.named_parameters():
        if name.startswith("conv_in") or "conv2" in name or "to_out" in name:
            parameter.data *= 2.0**15
    return vae


@pytest.mark.parametrize("tile_size", [32, 16])
def test_a_shrunk_decoder_fits_float16(tile_size: int) -> None:
    vae, latents = make_loud_vae(), make_latents(24, 24)
    expected = decode_whole(vae, latents)
    assert not decode_tiled(deepcopy(vae).half(), latents, tile_size).isfinite().all()
    shrink_stream(vae.decoder)
    decoded = decode_tiled(vae.half(), latents, tile_size)
    assert decoded.dtype == torch.float32
    differences = (decoded - expected).abs() * PICTURE_STD / expected.std()
    # Random weights amplify rounding errors more than trained ones do.
    assert differences.flatten().quantile(0.999) < LEVEL
    assert differences.mean() < LEVEL / 4
