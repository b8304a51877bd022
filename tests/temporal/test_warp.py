"""Pictures are fetched from the frame before along the motion."""

import pytest
import torch
import torch.nn.functional as F

from vidx4.temporal.warp import Warp, fetch_shifted

HEIGHT, WIDTH = 12, 20
EXACT = 1e-5


def picture() -> torch.Tensor:
    return torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))


def test_without_motion_the_published_warp_moves_by_half_a_pixel() -> None:
    """Position v is read at v * W / (W - 1) - 0.5, and the border is mixed with zeros."""
    fetched = fetch_shifted(picture(), torch.zeros(1, 2, HEIGHT, WIDTH))
    corner = picture()[..., 0, 0] / 4  # three of the four pixels around it lie beyond the picture
    torch.testing.assert_close(fetched[..., 0, 0], corner, rtol=0, atol=EXACT)
    columns = torch.arange(WIDTH) * WIDTH / (WIDTH - 1) - 0.5
    rows = torch.arange(HEIGHT) * HEIGHT / (HEIGHT - 1) - 0.5
    ramp = (torch.arange(WIDTH)[None] + 100.0 * torch.arange(HEIGHT)[:, None]).expand(1, 1, -1, -1)
    moved = fetch_shifted(ramp, torch.zeros(1, 2, HEIGHT, WIDTH))[0, 0]
    expected = columns[None] + 100 * rows[:, None]
    torch.testing.assert_close(moved[1:-1, 1:-1], expected[1:-1, 1:-1], rtol=0, atol=1e-2)


def test_the_published_warp_mixes_two_conventions() -> None:
    flow = 3 * torch.randn(1, 2, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(2))
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    # As for `align_corners=True`, and then sampled without it.
    places = torch.stack(
        [2 * (x + flow[0, 0]) / (WIDTH - 1) - 1, 2 * (y + flow[0, 1]) / (HEIGHT - 1) - 1], -1
    )
    expected = F.grid_sample(
        picture(), places[None], mode="bilinear", padding_mode="zeros", align_corners=False
    )
    torch.testing.assert_close(fetch_shifted(picture(), flow), expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("grid", [1, 4])
def test_without_motion_a_warp_moves_nothing(grid: int) -> None:
    flow, trust = (
        torch.zeros(1, 2, HEIGHT // grid, WIDTH // grid),
        torch.ones(1, 1, HEIGHT // grid, WIDTH // grid),
    )
    torch.testing.assert_close(Warp.along(flow, trust, grid).fetch(picture()), picture(), rtol=0, atol=EXACT)
