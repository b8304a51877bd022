"""Hard cuts are found; flashes, fast pans and dissolves are not taken for cuts."""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers import read_all
from tests.moving import pan, photo
from vidx4.media.probe import probe
from vidx4.temporal.cuts import REACH, find_cuts

SAMPLES = Path(__file__).parents[2] / "samples"
SIZE = (96, 128)


@cache
def reduced(name: str) -> Tensor:
    """Return a sample at a common size."""
    frames = read_all(probe(SAMPLES / name)).data
    parts = (torch.nn.functional.interpolate(part.float(), SIZE, mode="area") for part in frames.split(16))
    return torch.cat([part.round().to(torch.uint8) for part in parts])


def sample(name: str, start: int, stop: int) -> Tensor:
    """Return frames of a sample at a common size."""
    return reduced(name)[start:stop].clone()


def whip(name: str, dx: float, num_frames: int) -> Tensor:
    """Return a pan by `dx` of 128 pixels per frame, blurred by half of that, as a camera would."""
    picture = photo(name)
    frames = []
    for i in range(num_frames):
        lefts = [round(dx * (i + part / 8)) % 60 for part in range(4)]
        frames.append(np.mean([picture[:96, left : left + 128] for left in lefts], axis=0))
    return torch.from_numpy(np.stack(frames).round().astype(np.uint8)).permute(0, 3, 1, 2)


def flashed(frames: Tensor, start: int, count: int, level: int) -> Tensor:
    """Brighten a few frames up to white."""
    bright = frames.clone()
    bright[start : start + count] = (
        (frames[start : start + count].int() + level).clamp(max=255).to(torch.uint8)
    )
    return bright


@pytest.fixture(scope="module")
def shots() -> list[Tensor]:
    return [
        sample("london.mp4", 0, 20),
        flashed(sample("bear.webm", 0, 25), 10, 2, 255),
        sample("signer.mkv", 0, 15),
        whip("kodim23", 9.0, 7),
        sample("nasa.mp4", 0, 12),
        flashed(sample("signer.mkv", 30, 50), 8, 3, 90),
        sample("bear.webm", 60, 80),
        whip("kodim05", 6.0, 10),
        sample("london.mp4", 40, 60),
        pan(12, 2.0, 1.0, "kodim23")[..., :96, :128],
        flashed(sample("nasa.mp4", 100, 120), 9, 1, 150),
    ]


def test_joins_between_shots_are_found(shots: list[Tensor]) -> None:
    lengths = [len(shot) for shot in shots]
    expected = [0, *accumulate(lengths[:-1])]
    found = [i for i, is_cut in enumerate(find_cuts(torch.cat(shots))) if is_cut]
    assert found == expected


def test_a_dissolve_is_not_a_cut(shots: list[Tensor]) -> None:
    a, b = shots[0][:20].float(), shots[6][:20].float()
    shares = torch.linspace(0, 1, 20).view(-1, 1, 1, 1)
    frames = torch.cat([shots[0][:8], (a * (1 - shares) + b * shares).to(torch.uint8), shots[6][12:]])
    assert sum(find_cuts(frames)) == 1


def test_only_the_end_of_black_frames_is_a_cut(shots: list[Tensor]) -> None:
    black = torch.zeros(10, 3, *SIZE, dtype=torch.uint8)
    found = [i for i, is_cut in enumerate(find_cuts(torch.cat([black, shots[0]]))) if is_cut]
    assert found == [0, 10]


def test_bit_depth_makes_no_difference(shots: list[Tensor]) -> None:
    frames = torch.cat([shots[0][-6:], shots[1][:6]])
    deep = (frames.int() * 257).to(torch.uint16)
    assert list(find_cuts(deep)) == list(find_cuts(frames))


def test_frames_are_read_no_further_ahead_than_reach(shots: list[Tensor]) -> None:
    taken = 0

    def frames() -> Iterator[Tensor]:
        nonlocal taken
        for frame in shots[0]:
            taken += 1
            yield frame

    cuts = find_cuts(frames())
    for i in range(5):
        next(cuts)
        assert taken == i + REACH


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
def test_short_videos_are_one_shot(count: int, shots: list[Tensor]) -> None:
    assert list(find_cuts(shots[0][:count])) == [True, *[False] * count][:count]


def starts(frames: Tensor) -> list[int]:
    return [i for i, is_cut in enumerate(find_cuts(frames)) if is_cut]


def dark(frames: Tensor) -> Tensor:
    return (frames.float() * 0.2).round().to(torch.uint8)


def gray(frames: Tensor) -> Tensor:
    luma = (frames.float() * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return luma.round().to(torch.uint8).expand(-1, 3, -1, -1).contiguous()


def grainy(frames: Tensor) -> Tensor:
    grain = np.random.default_rng(0).normal(0, 10, (len(frames), 1, *frames.shape[2:]))
    return (frames + torch.from_numpy(grain)).round().clamp(0, 255).to(torch.uint8)


def letterboxed(frames: Tensor) -> Tensor:
    boxed = frames.clone()
    boxed[..., :14, :] = boxed[..., -14:, :] = 0
    return boxed


def marked(frames: Tensor) -> Tensor:
    """Put a logo, and a line of subtitles that stays over all cuts."""
    drawn = frames.clone()
    drawn[..., 6:16, 100:120] = 250
    drawn[..., 80:90, 20:110:3] = 255
    return drawn


def tiny(frames: Tensor) -> Tensor:
    small = torch.nn.functional.interpolate(frames.float(), (16, 16), mode="area")
    return small.round().to(torch.uint8)


def wide(frames: Tensor) -> Tensor:
    return frames[..., 30:50, :]


@pytest.mark.parametrize("style", [dark, gray, grainy, letterboxed, marked, tiny, wide])
def test_cuts_are_found_in_worn_and_in_unusual_material(
    style: Callable[[Tensor], Tensor], shots: list[Tensor]
) -> None:
    parts = [shots[0], shots[2], shots[4], shots[6], shots[9]]
    assert starts(style(torch.cat(parts))) == [0, *accumulate(len(part) for part in parts[:-1])]


@pytest.mark.parametrize("length", [3, 4, 6])
def test_short_shots_are_found(length: int, shots: list[Tensor]) -> None:
    parts = [shots[0], shots[2][:length], shots[6][:length], shots[4]]
    assert starts(torch.cat(parts)) == [0, *accumulate(len(part) for part in parts[:-1])]


@pytest.mark.parametrize("length", [1, 2])
def test_a_few_frames_of_something_else_are_no_shot(length: int, shots: list[Tensor]) -> None:
    frames = sample("signer.mkv", 0, 24)
    frames[10 : 10 + length] = shots[0][:length]
    assert starts(frames) == [0]


def test_damaged_frames_are_not_cuts() -> None:
    frames = sample("bear.webm", 0, 24)
    frames[9:11, :, 40:, :] = frames[9:11, :, 40:, :].roll(50, dims=-1)
    frames[9:11, :, 60:76, 20:100] = 128
    assert starts(frames) == [0]


def test_a_strobe_is_no_cut() -> None:
    frames = sample("london.mp4", 0, 24)
    for i in (6, 7, 10, 11, 14, 15):
        frames[i] = (frames[i].int() + 120).clamp(max=255).to(torch.uint8)
    assert starts(frames) == [0]


def test_animation_on_threes_is_cut_only_where_its_scene_changes() -> None:
    def drawn(name: str, dx: float) -> Tensor:
        """Hold each phase of a figure for three frames, over a background that moves in every frame."""
        frames = pan(18, dx, 0.0, name)[..., :96, :128].contiguous()
        figure = torch.from_numpy(photo("kodim05")[40:76, 60:90]).permute(2, 0, 1).to(torch.uint8)
        for i in range(len(frames)):
            left = 10 + i // 3 * 7
            frames[i, :, 30:66, left : left + 30] = figure
        return frames

    assert starts(torch.cat([drawn("kodim23", 1.0), drawn("kodim05", -1.0)])) == [0, 18]


def test_cuts_are_the_same_wherever_the_search_begins(shots: list[Tensor]) -> None:
    frames = torch.cat([shots[0], shots[1], shots[2]])
    expected = list(find_cuts(frames))
    for start in (4, 12, 24, 33, 52):
        first = max(i for i in range(start + 1) if expected[i])
        past = frames[max(first, start - REACH) : start] if start > first else frames[:0]
        assert list(find_cuts(frames[start:], past)) == expected[start:]
