"""Batches end at cuts and start at multiples of their size from the start of their shot."""

from collections.abc import Generator

import pytest
import torch
from torch import Tensor

from tests.moving import pan
from vidx4.frames import FrameBatch
from vidx4.jobs.shots import by_shot


def frames() -> Tensor:
    return torch.cat([pan(7, 1.0, 0.5), pan(5, 1.0, 0.5, "kodim23")])


def decoded(size: int) -> Generator[FrameBatch]:
    shots = frames()
    for start in range(0, len(shots), size):
        data = shots[start : start + size]
        yield FrameBatch(data, tuple(range(10 * start, 10 * (start + len(data)), 10)))


@pytest.mark.parametrize("decoded_size", [1, 4, 12])
def test_batches_end_at_cuts(decoded_size: int) -> None:
    batches = list(by_shot(decoded(decoded_size), batch_size=3))
    assert [len(each.batch) for each in batches] == [3, 3, 1, 3, 2]
    assert [each.starts_shot for each in batches] == [True, False, False, True, False]
    assert torch.equal(torch.cat([each.batch.data for each in batches]), frames())
    assert [pts for each in batches for pts in each.batch.pts] == list(range(0, 120, 10))


def test_closing_closes_what_it_reads_from() -> None:
    source = decoded(2)
    batches = by_shot(source, batch_size=2)
    next(batches)
    batches.close()
    assert list(source) == []


def test_nothing_gives_nothing() -> None:
    nothing = decoded(20)
    next(nothing)
    assert list(by_shot(nothing, batch_size=2)) == []
