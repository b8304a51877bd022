from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from tests.clocks import recording
from vidx4.media.container import open_source, read_packets
from vidx4.media.tracks.timeline import Cut
from vidx4.video import WHOLE

WHOLE_CUT = Cut(Fraction(0), Fraction(100), WHOLE, Fraction(0))


@pytest.mark.parametrize("setback", [0, 1, 5])
def test_times_that_repeat_or_go_back_ascend(tmp_path: Path, setback: int) -> None:
    """As of sound that a recorder wrote twice; muxers refuse such packets."""
    film = recording(tmp_path / "film.mkv", 20)
    with open_source(film) as container:
        sound = container.streams.audio[0]
        packets = list(read_packets(container, sound))
        tenth = packets[9].dts or 0
        packets[10].pts = packets[10].dts = tenth - setback
        after = [packet.pts for packet in packets[11:]]
        found = list(WHOLE_CUT.first_packets(packets, [sound]))
    times = [packet.dts or 0 for packet in found]
    assert all(second > first for first, second in pairwise(times))
    assert times[10] == tenth + 1  # a millisecond, which is more than a sample
    assert [packet.pts for packet in found[11:]] == after


def test_a_rehearsal_takes_few_packets_of_each_stream(tmp_path: Path) -> None:
    film = recording(tmp_path / "film.mkv", 20, num_audio=2)
    cut = Cut(Fraction(0), Fraction(100), WHOLE, Fraction(0), max_packets=3)
    with open_source(film) as container:
        streams = container.streams.audio
        found = list(cut.first_packets(read_packets(container, *streams), streams))
    assert sorted(packet.stream_index for packet in found) == [1, 1, 1, 2, 2, 2]


def test_whoever_takes_a_packet_may_move_it_to_another_stream(tmp_path: Path) -> None:
    film = recording(tmp_path / "film.mkv", 20, num_audio=2)
    cut = Cut(Fraction(0), Fraction(100), WHOLE, Fraction(0), max_packets=2)
    with open_source(film) as container:
        first, last = container.streams.audio
        found = []
        for packet in cut.first_packets(read_packets(container, last), [last]):
            packet.stream = first
            found.append(packet)
    assert len(found) == 2
