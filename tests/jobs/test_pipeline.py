"""Batches that a GPU works on: the next one is launched before the last one is waited for."""

from collections.abc import Generator, Sequence
from typing import Any, cast

import pytest
import torch

from vidx4.errors import SourceError, StoppedError
from vidx4.frames import FrameBatch
from vidx4.jobs.pipeline import enlarged
from vidx4.jobs.progress import Control, StageSeconds
from vidx4.jobs.shots import ShotBatch
from vidx4.jobs.stop import Stop
from vidx4.temporal.state import ShotState, Upscaled
from vidx4.transfer import Download

NUM_BATCHES = 5


class Device:
    """A stand-in for a GPU: frames are blank until their copy is waited for."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def launch(self, batch: FrameBatch, state: ShotState | None) -> Upscaled:
        number = batch.pts[0]
        self.log.append(f"launch {number}")
        result = torch.zeros_like(batch.data)
        event = Event(self, number, result)
        return Upscaled(FrameBatch(result, batch.pts), state, 0.0, Download(result, cast(Any, event)))


class Event:
    """An event that copies a frame when it is waited for."""

    def __init__(self, device: Device, number: int, result: torch.Tensor) -> None:
        self._device, self._number, self._result = device, number, result

    def synchronize(self) -> None:
        self._device.log.append(f"wait {self._number}")
        self._result.fill_(self._number + 1)


def batches(error: Exception | None = None) -> Generator[ShotBatch[FrameBatch]]:
    for number in range(NUM_BATCHES):
        batch = FrameBatch(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), (number,))
        is_last = number == NUM_BATCHES - 1
        yield ShotBatch(batch, number == 0, is_last, None if is_last else number + 1)
    if error is not None:
        raise error


def is_whole(results: Sequence[ShotBatch[Upscaled]]) -> bool:
    return all(bool((each.batch.batch.data == each.batch.batch.pts[0] + 1).all()) for each in results)


def test_the_next_batch_is_launched_before_the_last_one_is_waited_for() -> None:
    device = Device()
    results = list(enlarged(device.launch, batches(), None, Control(), StageSeconds()))
    assert [each.batch.batch.pts for each in results] == [(number,) for number in range(NUM_BATCHES)]
    assert is_whole(results)
    expected = ["launch 0"]
    for number in range(1, NUM_BATCHES):
        expected += [f"launch {number}", f"wait {number - 1}"]
    assert device.log == [*expected, f"wait {NUM_BATCHES - 1}"]


def test_what_was_launched_before_an_error_counts() -> None:
    device, results = Device(), list[ShotBatch[Upscaled]]()
    work = enlarged(device.launch, batches(SourceError("damaged")), None, Control(), StageSeconds())
    with pytest.raises(SourceError, match="damaged"):
        results.extend(work)
    assert len(results) == NUM_BATCHES
    assert is_whole(results)


def test_what_was_launched_before_a_stop_counts() -> None:
    device, results, stop = Device(), list[ShotBatch[Upscaled]](), Stop()

    def stop_after_third(batch: FrameBatch, state: ShotState | None) -> Upscaled:
        if batch.pts[0] == 2:
            stop.set()
        return device.launch(batch, state)

    work = enlarged(stop_after_third, batches(), None, Control(stop=stop), StageSeconds())
    with pytest.raises(StoppedError):
        results.extend(work)
    assert len(results) == 3
    assert is_whole(results)


def test_frames_that_are_there_are_handed_on_at_once() -> None:
    log: list[str] = []

    def enlarge(batch: FrameBatch, state: ShotState | None) -> Upscaled:
        log.append(f"enlarge {batch.pts[0]}")
        return Upscaled(batch, state)

    work = enlarged(enlarge, batches(), None, Control(), StageSeconds(), depth=1)
    assert next(work).batch.batch.pts == (0,)
    work.close()
