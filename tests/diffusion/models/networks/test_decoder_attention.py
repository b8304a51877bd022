"""Attention in the decoder is exact for small fields; for larger ones, its cost is bounded."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from scripts.bench.architecture import decode_operations, unet_operations
from vidx4.diffusion.models.networks.decoder_attention import AttentionReach, attend, attend_near_and_far
from vidx4.diffusion.models.sd_x4 import SD_X4_DEFAULTS
from vidx4.diffusion.options import Speed

SMALL = AttentionReach(near=32 * 32, block=16, pool=4, landmarks=50, samples=64)
"""A reach whose window is a part of small fields."""
WHOLE = 4096
STEP = 8
"""Sides of frames are padded to multiples of this."""


def num_keys(reach: AttentionReach, height: int, width: int) -> float:
    """Return how many keys each query of a field sees."""
    rows, columns = reach.window(height, width)
    if (rows, columns) == (height, width):
        return height * width
    return rows * columns + reach.landmarks + (height * width - rows * columns) / reach.pool**2


@pytest.mark.parametrize(
    ("width", "height", "tile_size"),
    [
        (128, 128, WHOLE),
        (320, 240, WHOLE),
        (320, 240, 64),
        (352, 288, 128),
        (640, 480, WHOLE),
        (640, 480, 128),
        (720, 576, 128),
        (1280, 720, 512),
        (1920, 1080, WHOLE),
    ],
)
def test_decoding_takes_at_most_a_third_of_the_default_steps(width: int, height: int, tile_size: int) -> None:
    num_steps = SD_X4_DEFAULTS[Speed.QUALITY].num_inference_steps
    denoising = num_steps * unet_operations(width, height)  # unguided, as without a prompt
    assert decode_operations(width, height, tile_size) <= denoising / 3


def test_a_larger_frame_is_never_cheaper_to_decode() -> None:
    sizes = [(128, 128), (320, 180), (320, 240), (328, 240), (352, 288), (640, 480), (720, 576)]
    for tile_size in (WHOLE, 512):
        counts = [decode_operations(*size, tile_size) for size in sizes]
        assert all(smaller < larger for smaller, larger in pairwise(counts))


def test_no_step_in_size_lessens_the_cost_of_attention() -> None:
    def cost(height: int, width: int) -> float:
        return height * width * num_keys(AttentionReach(), height, width)

    for height in range(STEP, 1440, STEP):
        for width in range(STEP, 2560, STEP):
            assert cost(height, width) < cost(height, width + STEP)
            assert cost(height, width) < cost(height + STEP, width)


@pytest.mark.parametrize(("height", "width"), [(240, 320), (320, 240), (120, 640), (8, 9600), (277, 277)])
def test_attention_is_exact_up_to_so_many_latents_of_any_shape(height: int, width: int) -> None:
    assert AttentionReach().covers(height, width)


def test_a_larger_field_is_not_attended_to_exactly() -> None:
    assert not AttentionReach().covers(480, 640)
    assert not AttentionReach().covers(1080, 100)


@pytest.mark.parametrize(("height", "width"), [(46, 59), (40, 64), (12, 200), (200, 9), (33, 32)])
def test_each_query_sees_each_latent_once(height: int, width: int) -> None:
    """If all keys are equal, attention is the mean of all values."""
    torch.manual_seed(0)
    query, value = torch.randn(2, 1, 16, height, width)
    attended = attend_near_and_far(query, torch.zeros_like(query), value, SMALL)
    expected = value.mean(dim=(2, 3), keepdim=True).expand_as(value)
    torch.testing.assert_close(attended, expected, rtol=0, atol=1e-5)


def test_far_cells_weigh_as_much_as_their_latents() -> None:
    """If all latents of a cell are equal, their mean stands for each of them."""
    torch.manual_seed(0)
    cells = torch.randn(2, 1, 16, 12, 15)
    key, value = cells.repeat_interleave(4, 3).repeat_interleave(4, 4)[..., :46, :59]
    query = torch.randn_like(key)
    flat_query, flat_key, flat_value = (x.flatten(2).transpose(1, 2) for x in (query, key, value))
    flat = F.scaled_dot_product_attention(flat_query, flat_key, flat_value)
    expected = flat.transpose(1, 2).reshape(query.shape)
    torch.testing.assert_close(attend(query, key, value, SMALL), expected, rtol=0, atol=1e-5)


def test_latents_that_all_queries_attend_to_are_seen_from_afar() -> None:
    """Attention may gather at few latents, whose cells hide them."""
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 16, 96, 80)
    gathering = torch.zeros(96, 80, dtype=torch.bool)
    gathering[5:90:23, 7:80:31] = True
    query[:, 0] = 4
    key[:, 0, gathering] = 12
    flat = (x.flatten(2).transpose(1, 2) for x in (query, key, value))
    expected = F.scaled_dot_product_attention(*flat).transpose(1, 2).reshape(query.shape)
    torch.testing.assert_close(attend(query, key, value, SMALL), expected, rtol=0, atol=0.05)
    blind = replace(SMALL, landmarks=0)
    assert (attend(query, key, value, blind) - expected).abs().mean() > 0.3
