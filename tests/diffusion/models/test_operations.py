"""Operations are counted without a model: by formulas that agree with PyTorch's own counter."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from scripts.bench.architecture import REAL, TEXT_TOKENS, make_unet, make_vae
from tests import sd_x4, stream_diffvsr
from vidx4.diffusion.denoise import PromptEmbeds
from vidx4.diffusion.models.networks.autoencoder import TiledAutoencoder
from vidx4.diffusion.models.networks.controlled_unet import ControlledNetworks, ControlledUNet
from vidx4.diffusion.models.networks.decoder_attention import AttentionReach, attend, count_operations
from vidx4.diffusion.models.networks.decoder_operations import decode_operations
from vidx4.diffusion.models.networks.tiny_autoencoder import TinyAutoencoder
from vidx4.diffusion.models.networks.tiny_autoencoder import decode_operations as tiny_operations
from vidx4.diffusion.models.networks.tiny_network import TemporalAutoencoderTiny
from vidx4.diffusion.models.networks.unet import StagedUNet
from vidx4.diffusion.models.operations import Operations
from vidx4.diffusion.models.sd_x4 import SD_X4
from vidx4.diffusion.models.stream_diffvsr import STREAM
from vidx4.diffusion.options import UpscaleOptions

SIZES = [(320, 240), (640, 480), (720, 576)]


def counted(work: Callable[[], object]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


@cache
def unet() -> StagedUNet:
    with torch.device("meta"):
        prompt = torch.empty(1, TEXT_TOKENS, REAL.text_width)
        return StagedUNet(make_unet(), PromptEmbeds(prompt, prompt))


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_an_evaluation_takes_the_operations_that_are_counted(width: int, height: int) -> None:
    """With and without the deep features of another step."""
    with torch.device("meta"):
        sample, embedding = torch.empty(1, 7, height, width), torch.empty(1, 1024)
        prompt, features = torch.empty(1, TEXT_TOKENS, REAL.text_width), torch.empty(1, 512, height, width)
    alone = Operations(
        SD_X4.operations.per_pixel, SD_X4.operations.per_pair, SD_X4.operations.per_pixel_shallow
    )
    one, two = (alone.of_frame(Cached(n), width, height) for n in (1, 2))
    whole = counted(lambda: unet()._evaluate(sample, embedding, prompt, None))
    assert one == pytest.approx(whole, rel=0.1)
    shallow = counted(lambda: unet()._evaluate(sample, embedding, prompt, features))
    assert two - one == pytest.approx(shallow, rel=0.1)


def test_a_frame_of_stream_diffvsr_takes_the_operations_that_are_counted() -> None:
    width, height = 320, 240
    with torch.device("meta"):
        unet = stream_diffvsr.make_unet(sd_x4.REAL_WIDTHS, REAL.text_width)
        controlnet = stream_diffvsr.make_controlnet(unet, stream_diffvsr.REAL_CONTROL)
        prompt, embeddings = torch.empty(1, TEXT_TOKENS, REAL.text_width), torch.empty(2, 1024)
        sample, picture = torch.empty(1, 7, height, width), torch.empty(1, 3, 4 * height, 4 * width)
        denoiser = ControlledUNet(ControlledNetworks(unet, controlnet), PromptEmbeds(prompt, prompt))
        seen, autoencoder = torch.empty(1, 256, height, width), TinyAutoencoder(TemporalAutoencoderTiny())
    latents = sample[:, :4]
    step = counted(lambda: denoiser._evaluate_controlled(sample, embeddings, prompt, seen))
    once = counted(lambda: denoiser.seeing(picture))
    once += counted(lambda: autoencoder.seeing(picture).decode(latents, latents))
    options = UpscaleOptions(model="stream-diffvsr")
    assert STREAM.operations_of_frame(options, width, height) == pytest.approx(4 * step + once, rel=0.02)
    alone = counted(lambda: autoencoder.decode(latents, latents))
    assert tiny_operations(width, height) == pytest.approx(alone, rel=0.02)


class Cached:
    """Steps that share the deep features of the first."""

    guidance_stop, cache_interval = 1.0, 100

    def __init__(self, num_inference_steps: int) -> None:
        self.num_inference_steps = num_inference_steps


@pytest.mark.parametrize(("width", "height"), [(120, 120), *SIZES])
def test_decoding_takes_the_operations_that_are_counted(width: int, height: int) -> None:
    """As a whole, on tensors without data."""
    with torch.device("meta"):
        autoencoder = TiledAutoencoder(make_vae(), tile_size=max(width, height))
        latents = torch.empty(1, 4, height, width)
    found = counted(lambda: autoencoder.decode(latents, latents))
    assert decode_operations(width, height) == pytest.approx(found, rel=0.1)


@pytest.mark.parametrize(("width", "height"), [(40, 56), (64, 64), (33, 70)])
@pytest.mark.parametrize("near", [576, 10_000])
def test_attention_takes_the_operations_that_are_counted(width: int, height: int, near: int) -> None:
    reach = AttentionReach(near, block=16, pool=4, landmarks=32, samples=64)
    field = torch.zeros(1, 16, height, width)
    with sdpa_kernel(SDPBackend.MATH):
        found = counted(lambda: attend(field, field, field, reach))
    assert count_operations(height, width, 16, reach) == found
    exactly = count_operations(height, width, 16, AttentionReach())
    assert (found < exactly) == (near == 576)


def operations(**options: Any) -> float:
    return SD_X4.operations_of_frame(UpscaleOptions(**options), 320, 240)


def test_a_prompt_doubles_the_steps_that_it_guides() -> None:
    decoding = decode_operations(320, 240)
    plain, guided = (operations(prompt=prompt) - decoding for prompt in ("", "a cat"))
    assert guided == pytest.approx(2 * plain)
    assert operations(prompt="a cat", guidance_stop=0.5) - decoding == pytest.approx(1.5 * plain)
    assert operations(prompt="a cat", guidance_scale=1.0) == operations()
    assert operations(prompt="a cat", negative_prompt="a cat") == operations()


def test_an_option_counts_before_the_speed() -> None:
    assert operations(num_inference_steps=4, cache_interval=1) == operations(speed="fast")
    assert operations() == operations(speed="quality") > 1.5 * operations(speed="balanced")


def test_tiles_take_the_operations_of_all_of_them() -> None:
    whole = SD_X4.operations_of_frame(UpscaleOptions(), 192, 192)
    tiled = SD_X4.operations_of_frame(UpscaleOptions(tile_size=192), 336, 192)
    assert tiled == pytest.approx(2 * whole)
