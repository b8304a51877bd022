from itertools import pairwise
from pathlib import Path

import av
import pytest
from av.packet import Packet

from tests.clocks import recording, remuxed
from tests.helpers import nearest, read_all
from vidx4.media.damage import Damage
from vidx4.media.decode import read_frames
from vidx4.media.encode import encode_part
from vidx4.media.options import EncodeOptions
from vidx4.media.probe import probe
from vidx4.media.target import target_of
from vidx4.media.timing.frame_times import (
    Coded,
    Returned,
    frame_times,
    set_number,
    without_fields,
    without_repeats,
)

FRAME = 40
"""Milliseconds."""


def naive(folder: Path) -> Path:
    """Write B-frames whose pts count in order of decoding."""
    film = recording(folder / "film.mkv", 40, num_audio=0, options={"bf": "3", "b_strategy": "0"})
    return remuxed(folder / "naive.mkv", film, lambda index: FRAME * index)


def test_times_out_of_order_are_given_out_in_order(tmp_path: Path) -> None:
    source = probe(naive(tmp_path))
    film = probe(tmp_path / "film.mkv")
    assert source.has_wrong_order
    assert source.pts == film.pts == read_all(source).pts
    assert read_all(source).data.equal(read_all(film).data)


def test_frames_shown_at_one_time_are_spaced_apart(tmp_path: Path) -> None:
    film = recording(tmp_path / "film.mkv", 20, num_audio=0, num_b_frames=0)
    double = remuxed(tmp_path / "double.mkv", film, lambda index: FRAME * (index - (index % 4 == 3)))
    source = probe(double)
    assert source.num_frames == 20
    assert source.num_respaced == 5
    assert all(b > a for a, b in pairwise(source.pts))
    assert source.pts == read_all(source).pts
    assert read_all(source).data.equal(read_all(probe(film)).data)


@pytest.mark.parametrize("num_b_frames", [0, 2])
def test_an_undecodable_packet_takes_its_time_with_it(tmp_path: Path, num_b_frames: int) -> None:
    film = tmp_path / "film.avi"
    recording(film, 30, num_audio=0, codec="mpeg4", num_b_frames=num_b_frames)
    whole = read_all(probe(film))
    damaged = _spoil(film, tmp_path / "damaged.avi", packet=14)
    damage, source = Damage(), probe(damaged)
    frames = list(read_frames(source, damage=damage))
    assert source.num_frames == 30
    assert len(frames) == 29
    assert len(damage.packets) == 1
    (missing,) = set(source.pts) - {frame.pts for frame in frames}
    assert abs(source.pts.index(missing) - 14) <= num_b_frames
    last = {frame.pts: frame.data for frame in frames}[whole.pts[-1]]
    assert last.equal(whole.data[-1])


def _spoil(path: Path, copy: Path, packet: int) -> Path:
    """Copy a file with one packet that no decoder accepts."""
    with av.open(str(path)) as original:
        sizes = [bytes(each) for each in original.demux(original.streams.video[0]) if each.size]
    content = path.read_bytes()
    place = content.index(sizes[packet])
    copy.write_bytes(content[:place] + b"\x00" * len(sizes[packet]) + content[place + len(sizes[packet]) :])
    return copy


def test_frames_before_the_first_keyframe_are_left_out(tmp_path: Path) -> None:
    film = recording(tmp_path / "film.ts", 40, num_audio=0, options={"g": "20"})
    with av.open(str(film)) as original:
        packets = [packet for packet in original.demux(original.streams.video[0]) if packet.size]
    cut = tmp_path / "cut.ts"
    cut.write_bytes(film.read_bytes()[packets[8].pos :])
    source = probe(cut)
    assert source.num_leading > 0
    assert 20 <= source.num_frames < 32 - 8
    assert read_all(source).pts == source.pts


def coded(*times: int | None, duration: int = 1) -> list[Coded]:
    return [Coded(time, duration) for time in times]


def test_second_fields_are_no_frames() -> None:
    fields = without_fields(coded(0, 1, 4, 5, 2, 3), Returned([0, 4, 2], num_packets=6, is_complete=True))
    times = frame_times(fields, Returned([0, 4, 2], delay=1), has_order=True)
    assert times.pts == (0, 2, 4)
    assert times.last_duration == 2
    assert times.packet_frames == (0, -1, 2, -1, 1, -1)


@pytest.mark.parametrize(("returned", "num_frames"), [([0, 2], 2), ([0, 1, 2], 3)])
def test_tiny_packets_are_frames_only_if_the_decoder_returns_some(
    returned: list[int], num_frames: int
) -> None:
    packets = [Coded(0, 1), Coded(1, 1, is_tiny=True), Coded(2, 1)]
    assert sum(each.pts is not None for each in without_repeats(packets, Returned(returned))) == num_frames


@pytest.mark.parametrize(
    ("times", "spaced"),
    [
        ((0, 40, 40, 120), (0, 40, 80, 120)),
        ((0, 0, 0, 1, 9), (0, 1, 2, 3, 9)),
        ((5, 5), (5, 6)),
    ],
)
def test_spacing(times: tuple[int, ...], spaced: tuple[int, ...]) -> None:
    found = frame_times(coded(*times), Returned(list(range(len(times)))), has_order=True)
    assert found.pts == spaced


@pytest.mark.parametrize("has_order", [True, False])
def test_the_order_of_the_container_counts_if_it_has_one(has_order: bool) -> None:
    times = frame_times(coded(0, 2, 1), Returned([0, 2, 1], delay=1), has_order=has_order)
    assert times.is_ordered_by_decoder is not has_order


def test_decoders_with_threads_of_their_own_are_closed(tmp_path: Path) -> None:
    """A thread of dav1d that waits for Python's lock, while the decoder is closed, would never end."""
    source = probe(recording(tmp_path / "film.mp4", 12, num_audio=0))
    target = target_of(source, ".mkv", EncodeOptions("av1", encoder_preset="10"))
    encode_part(tmp_path / "film.nut", [nearest(read_all(source))], source, target)
    for _ in range(100):
        assert probe(tmp_path / "film.nut").num_frames == 12


def test_packets_of_several_decoders_may_have_one_number() -> None:
    """PyAV keeps what belongs to packets in one place, and drops it with the first of equal objects."""
    first, second = (Packet(b"frame") for _ in range(2))
    set_number(first, 5)
    set_number(second, 5)
    del first
    assert second.opaque == (5,)
