"""The result's low frequencies are the source's; its detail is its own."""

import torch
import torch.nn.functional as F

from vidx4.diffusion.color import keep_colors, low_frequencies

KERNEL = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16


def reference_low_frequencies(x: torch.Tensor) -> torch.Tensor:
    """Follow the definition: five dilated 3x3 convolutions with repeated edges."""
    kernel = KERNEL.expand(x.shape[1], 1, 3, 3)
    for level in range(5):
        padded = F.pad(x, (2**level,) * 4, mode="replicate")
        x = F.conv2d(padded, kernel, dilation=2**level, groups=x.shape[1])
    return x


def test_is_the_a_trous_transform() -> None:
    x = torch.rand(2, 3, 50, 70)
    torch.testing.assert_close(low_frequencies(x), reference_low_frequencies(x), rtol=0, atol=1e-6)


def test_takes_tone_from_the_source_and_detail_from_the_result() -> None:
    enlarged, upscaled = torch.rand(1, 3, 96, 96), torch.rand(1, 3, 96, 96)
    expected = upscaled - reference_low_frequencies(upscaled) + reference_low_frequencies(enlarged)
    torch.testing.assert_close(keep_colors(upscaled, enlarged), expected, rtol=0, atol=1e-6)


def test_undoes_a_shift_of_colour_exactly() -> None:
    picture = torch.rand(1, 3, 64, 80)
    shifted = picture + torch.tensor([0.1, -0.2, 0.05]).view(1, 3, 1, 1)
    torch.testing.assert_close(keep_colors(shifted, picture), picture, rtol=0, atol=1e-6)


def test_small_pictures_are_no_special_case() -> None:
    assert keep_colors(torch.rand(1, 3, 4, 8), torch.rand(1, 3, 4, 8)).shape == (1, 3, 4, 8)
