"""What a network takes is counted on as few pictures as tell it."""

from collections.abc import Callable

import pytest
import torch
from torch.nn.functional import conv2d

from vidx4.diffusion.models.network_cost import SIDES, cost_of


def convolve(side: int) -> None:
    conv2d(torch.zeros(1, 3, side, side, device="meta"), torch.zeros(8, 3, 3, 3, device="meta"), padding=1)


def attend_in_windows(side: int) -> None:
    tokens = torch.zeros(side**2 // 64, 64, 4, device="meta")
    torch.bmm(torch.bmm(tokens, tokens.mT), tokens)


def attend_everywhere(side: int) -> None:
    tokens = torch.zeros(1, side**2 // 16, 4, device="meta")
    torch.bmm(torch.bmm(tokens, tokens.mT), tokens)


@pytest.mark.parametrize(
    ("network", "num_pictures", "per_pixel", "per_pair"),
    [
        (convolve, 1, 2 * 3 * 9 * 8, 0.0),
        (attend_in_windows, 2, 4 * 64 * 4, 0.0),
        (attend_everywhere, 3, 0.0, 4 * 4 / 16**2),
    ],
)
def test_larger_pictures_are_tried_only_where_they_tell_more(
    network: Callable[[int], None], num_pictures: int, per_pixel: float, per_pair: float
) -> None:
    tried: list[int] = []

    def run(side: int) -> None:
        tried.append(side)
        network(side)

    cost = cost_of(run)
    assert tried == list(SIDES[:num_pictures])
    assert cost.operations.per_pixel == pytest.approx(per_pixel, abs=1e-6)
    assert cost.operations.per_pair == pytest.approx(per_pair)
