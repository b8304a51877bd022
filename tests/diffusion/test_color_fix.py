"""The result takes its low frequencies from the source, and keeps its own detail."""

import torch
import torch.nn.functional as F

from vidx4.diffusion.color_fix import COLOR_REACH, keep_colors, low_frequencies
from vidx4.frames import SCALE

KERNEL = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16


def a_trous(x: torch.Tensor) -> torch.Tensor:
    """Transform by the definition: five dilated 3x3 convolutions with repeated edges."""
    kernel = KERNEL.expand(x.shape[1], 1, 3, 3)
    for level in range(5):
        padded = F.pad(x, (2**level,) * 4, mode="replicate")
        x = F.conv2d(padded, kernel, dilation=2**level, groups=x.shape[1])
    return x


def test_approximates_the_a_trous_transform() -> None:
    """Of noise with a standard deviation of 0.29, the transform leaves 0.010."""
    x = torch.rand(2, 3, 120, 160, generator=torch.Generator().manual_seed(0))
    difference = low_frequencies(x) - a_trous(x)
    assert difference.std() < 0.003
    assert difference[..., 16:-16, 16:-16].abs().max() < 0.02


def test_takes_tone_from_the_source_and_detail_from_the_result() -> None:
    enlarged, upscaled = torch.rand(1, 3, 96, 96), torch.rand(1, 3, 96, 96)
    expected = upscaled - low_frequencies(upscaled) + low_frequencies(enlarged)
    torch.testing.assert_close(keep_colors(upscaled, enlarged), expected, rtol=0, atol=1e-6)


def test_undoes_a_shift_of_colour_exactly() -> None:
    picture = torch.rand(1, 3, 64, 80)
    shifted = picture + torch.tensor([0.1, -0.2, 0.05]).view(1, 3, 1, 1)
    torch.testing.assert_close(keep_colors(shifted, picture), picture, rtol=0, atol=1e-6)


def test_the_smallest_pictures_keep_their_size() -> None:
    assert keep_colors(torch.rand(1, 3, 4, 8), torch.rand(1, 3, 4, 8)).shape == (1, 3, 4, 8)


def test_nothing_changes_beyond_its_reach() -> None:
    x = torch.rand(1, 3, 160, 160)
    changed = x.clone()
    changed[..., 100:104, 80:84] += 1
    difference = (low_frequencies(changed) - low_frequencies(x)).abs().amax((0, 1))
    near = difference.unfold(0, SCALE, SCALE).unfold(1, SCALE, SCALE).amax((2, 3)) > 0
    rows, columns = near.nonzero().unbind(1)
    assert (rows - 25).abs().max() == (columns - 20).abs().max() == COLOR_REACH
