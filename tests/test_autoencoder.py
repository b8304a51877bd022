"""The autoencoder's tiles leave no seam and bound its memory."""

import torch

from tests import sd_x4
from vidx4.diffusion.autoencoder import TiledAutoencoder


@torch.inference_mode()
def test_a_picture_of_one_tile_is_decoded_as_a_whole() -> None:
    vae = sd_x4.make_vae((16, 16, 32)).eval()
    latents = torch.randn(1, 4, 24, 32)
    expected = vae.decode(latents / vae.config.scaling_factor).sample
    assert torch.equal(TiledAutoencoder(vae, tile_size=32).decode(latents, latents), expected)


@torch.inference_mode()
def test_no_tile_is_larger_than_asked() -> None:
    vae = sd_x4.make_vae((16, 16, 32)).eval()
    sizes = []
    vae.decoder.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape[2:])))
    latents = torch.randn(1, 4, 50, 70)
    decoded = TiledAutoencoder(vae, tile_size=32, tile_overlap=8).decode(latents, latents)
    assert decoded.shape == (1, 3, 200, 280)
    assert set(sizes) == {(32, 32)}
    assert len(sizes) == 2 * 3


@torch.inference_mode()
def test_tiles_meet_without_a_step() -> None:
    """Where tiles meet, neighbouring pixels differ as much as elsewhere."""
    torch.manual_seed(0)
    vae = sd_x4.make_vae((16, 16, 32)).eval()
    smooth = torch.nn.functional.interpolate(torch.randn(1, 4, 6, 12), (48, 96), mode="bicubic")
    whole, tiled = (
        TiledAutoencoder(vae, tile_size=size, tile_overlap=16).decode(smooth, smooth) for size in (96, 48)
    )
    steps = [picture.diff(dim=3).abs().mean((0, 1, 2)) for picture in (whole, tiled)]
    assert steps[1].max() < 1.5 * steps[0].max()
