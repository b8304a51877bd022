"""Batches end at cuts, and start at multiples of the batch size from the start of their shot."""

from collections.abc import Generator

import pytest
import torch
from torch import Tensor

from tests.moving import pan
from vidx4.frames import Frame
from vidx4.jobs.shots import by_shot


def frames() -> Tensor:
    return torch.cat([pan(7, 1.0, 0.5), pan(5, 1.0, 0.5, "kodim23")])


def decoded() -> Generator[Frame]:
    for index, data in enumerate(frames()):
        yield Frame(data, 10 * index)


@pytest.mark.parametrize(("batch_size", "sizes"), [(1, [1] * 12), (3, [3, 3, 1, 3, 2]), (12, [7, 5])])
def test_batches_end_at_cuts(batch_size: int, sizes: list[int]) -> None:
    batches = list(by_shot(decoded(), batch_size))
    assert [len(each.batch) for each in batches] == sizes
    firsts = [each.batch.pts[0] for each in batches if each.starts_shot]
    lasts = [each.batch.pts[-1] for each in batches if each.ends_shot]
    assert (firsts, lasts) == ([0, 70], [60, 110])
    assert [each.next_pts for each in batches] == [*(each.batch.pts[0] for each in batches[1:]), None]
    assert torch.equal(torch.cat([each.batch.data for each in batches]), frames())
    assert [pts for each in batches for pts in each.batch.pts] == list(range(0, 120, 10))


@pytest.mark.parametrize("batch_size", [1, 3, 12])
def test_a_shot_starts_with_the_frames_that_follow(batch_size: int) -> None:
    shots = [each for each in by_shot(decoded(), batch_size) if each.batch.warm_up]
    assert all(each.starts_shot for each in shots)
    pts = [tuple(frame.pts for frame in each.batch.warm_up) for each in shots]
    assert pts == [(40, 30, 20, 10), (110, 100, 90, 80)]
    assert torch.equal(shots[1].batch.warm_up[0].data, frames()[11])


def test_the_frames_that_follow_are_of_the_same_shot() -> None:
    def short() -> Generator[Frame]:
        for index, data in enumerate(torch.cat([pan(3, 1.0, 0.5), pan(5, 1.0, 0.5, "kodim23")])):
            yield Frame(data, index)

    first, *_ = by_shot(short(), 8)
    assert [frame.pts for frame in first.batch.warm_up] == [2, 1]


def test_a_shot_that_resumes_needs_no_frames_before_it() -> None:
    assert not any(each.batch.warm_up for each in by_shot(decoded(), 2, start_pts=40) if not each.starts_shot)


def test_closing_closes_the_decoder() -> None:
    source = decoded()
    batches = by_shot(source, batch_size=2)
    next(batches)
    batches.close()
    assert list(source) == []


def test_no_frames_give_no_batches() -> None:
    nothing = decoded()
    nothing.close()
    assert list(by_shot(nothing, batch_size=2)) == []
