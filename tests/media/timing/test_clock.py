from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from tests.clocks import TICKS, joined, recording, shifted
from tests.helpers import read_all
from vidx4.jobs.plan import plan_video
from vidx4.media.container import open_source, read_packets
from vidx4.media.decode import can_seek
from vidx4.media.probe import probe
from vidx4.media.timing.clock import ClockScan
from vidx4.video import STEADY, Source

DAY = 24 * 3600


def cat(folder: Path, suffix: str, **options: object) -> Path:
    first = recording(folder / f"first{suffix}", 30, **options)
    return joined(
        folder / f"joined{suffix}", first, recording(folder / f"second{suffix}", 20, **options), first
    )


def mpeg_ts(folder: Path) -> Path:
    return cat(folder, ".ts")


def dvd_cells(folder: Path) -> Path:
    return cat(folder, ".vob", codec="mpeg2video", time_base=Fraction(1, 25), num_audio=0)


def flash(folder: Path) -> Path:
    return cat(folder, ".flv")


def jump_of_hours(folder: Path) -> Path:
    first = recording(folder / "first.ts", 30)
    later = shifted(folder / "later.ts", first, Fraction(2 * 3600))
    return joined(folder / "joined.ts", first, later, first)


def restart_across_the_wrap(folder: Path) -> Path:
    first = recording(folder / "first.ts", 30)
    late = shifted(folder / "late.ts", first, Fraction(DAY))
    return joined(folder / "joined.ts", late, first, late)


@pytest.mark.parametrize("make", [mpeg_ts, dvd_cells, flash, jump_of_hours, restart_across_the_wrap])
def test_restarts_and_jumps_are_continued(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    source = probe(make(tmp_path))
    assert source.num_frames in (80, 90)
    assert len(source.clock.places) == 2
    step = Fraction(1, 25)
    # The sound of the pieces lasts a little longer than their pictures, which leaves a pause.
    gaps = [(b - a) * source.time_base for a, b in pairwise(source.pts)]
    assert all(step - source.time_base <= gap <= step + Fraction(1, 10) for gap in gaps)
    assert read_all(source).pts == source.pts
    assert not can_seek(source)


@pytest.mark.parametrize("make", [mpeg_ts, jump_of_hours])
def test_all_streams_move_alike(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    source = probe(make(tmp_path))
    by_stream = [[jump.shift for jump in source.clock.jumps if jump.stream == index] for index in (0, 1)]
    assert by_stream[0] == by_stream[1]
    with open_source(source.path) as container:
        sound = container.streams.audio[0]
        times = [packet.dts or 0 for packet in read_packets(container, sound, clock=source.clock)]
    assert all(b > a for a, b in pairwise(times))


def test_the_places_are_reported(tmp_path: Path) -> None:
    plan = plan_video(mpeg_ts(tmp_path), tmp_path / "copy.mp4")
    (warning,) = (each for each in plan.warnings if "restart" in each)
    assert "at 1.24 s, 2.07 s" in warning


@pytest.mark.parametrize("seconds", [5000, 2, Fraction(-1, 2)])
@pytest.mark.parametrize("stream", [0, 1])
def test_a_stray_timestamp_moves_nothing_after_it(tmp_path: Path, stream: int, seconds: Fraction) -> None:
    film = recording(tmp_path / "film.ts", 40)
    scan, number = ClockScan("mpegts"), 0
    with open_source(film) as container:
        for packet in read_packets(container, *container.streams):
            if packet.stream_index == stream and (number := number + 1) == 15:
                ticks = round(seconds * TICKS)
                packet.pts, packet.dts = (packet.pts or 0) + ticks, (packet.dts or 0) + ticks
            scan.add(packet)
    clock = scan.clock(0, Fraction(0))
    stray, *after = (jump for jump in clock.jumps if jump.stream == stream)
    assert stray.packet == 14
    assert abs(stray.shift + seconds) < 1
    assert after[0].packet == 15
    assert {jump.shift for jump in clock.jumps if jump != stray} == {0}


def test_a_clock_that_wraps_begins_at_zero(tmp_path: Path) -> None:
    film = recording(tmp_path / "film.ts", 60)
    source = probe(shifted(tmp_path / "wrap.ts", film, Fraction(2**33, TICKS) - 1))
    assert source.clock.moved == 1
    assert 0 <= source.pts[0] * source.time_base < 1
    assert source.duration == probe(film).duration
    assert plan_video(source.path, tmp_path / "copy.mp4").rehearsal.lost == ()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi"])
def test_an_ordinary_clock_is_steady(tmp_path: Path, suffix: str) -> None:
    source = probe(recording(tmp_path / f"film{suffix}", 30, num_b_frames=0 if suffix == ".avi" else 2))
    assert source.clock == STEADY


def test_a_pause_is_no_jump(tmp_path: Path) -> None:
    pts = [512 * index for index in range(10)] + [12800 * 9 + 512 * index for index in range(10)]
    film = recording(tmp_path / "film.mkv", 20, pts=pts)
    assert _times(probe(film)) == [Fraction(time, 12800) for time in pts]


def _times(source: Source) -> list[Fraction]:
    return [round(pts * source.time_base * 25) / Fraction(25) for pts in source.pts]
