from dataclasses import replace
from fractions import Fraction

import pytest

from tests.conftest import MakeVideo
from vidx4.media.probe import probe
from vidx4.media.tracks.timecode import Timecode, first_timecode
from vidx4.video import WHOLE, Source, TimeRange


def with_timecode(source: Source, text: str) -> Source:
    return replace(source, tags=(("timecode", text),))


@pytest.mark.parametrize(
    ("text", "rate", "num_frames", "later"),
    [
        ("01:02:03:04", 25, 1, "01:02:03:05"),
        ("01:02:03:24", 25, 1, "01:02:04:00"),
        ("00:00:59;29", 30, 1, "00:01:00;02"),  # two numbers are dropped each minute
        ("00:09:59;29", 30, 1, "00:10:00;00"),  # but not each tenth
        ("00:00:59;59", 60, 1, "00:01:00;04"),
        ("00:00:59:29", 30, 1, "00:01:00:00"),
        ("00:00:00;00", 30, 107892, "01:00:00;00"),
        ("23:59:59:24", 25, 1, "00:00:00:00"),
        ("23:59:59;29", 30, 1, "00:00:00;00"),
    ],
)
def test_frames_are_counted(text: str, rate: int, num_frames: int, later: str) -> None:
    timecode = Timecode.parse(text, rate)
    assert timecode is not None
    assert str(timecode) == text
    assert str(timecode.after(num_frames)) == later


@pytest.mark.parametrize(
    "text", ["", "now", "1:2:3", "99:99:99:99", "01:02:03:25", "01:02:03;04", "a1:02:03:04"]
)
def test_what_is_no_timecode(text: str) -> None:
    assert Timecode.parse(text, 25) is None


@pytest.mark.parametrize(
    ("text", "before", "after", "converted"),
    [
        ("01:02:03:04", 25, 50, "01:02:03:08"),
        ("00:01:00;02", 30, 60, "00:01:00;04"),
        ("01:00:00:15", 30, 24, "01:00:00:12"),
    ],
)
def test_another_rate(text: str, before: int, after: int, converted: str) -> None:
    timecode = Timecode.parse(text, before)
    assert timecode is not None
    assert str(timecode.at_rate(after)) == converted


def test_a_range_begins_later(make_video: MakeVideo) -> None:
    source = with_timecode(probe(make_video()), "10:00:00:20")
    assert first_timecode(source, WHOLE) == "10:00:00:20"
    assert first_timecode(source, TimeRange(start=Fraction(2, 5))) == "10:00:01:05"


def test_no_timecode_is_made_up(make_video: MakeVideo) -> None:
    source = probe(make_video())
    assert first_timecode(source, WHOLE) == ""
    assert first_timecode(with_timecode(source, "tomorrow"), WHOLE) == ""
    assert first_timecode(replace(with_timecode(source, "01:00:00:00"), frame_rate=None), WHOLE) == ""


def test_the_new_rate_counts_where_fields_become_frames(make_video: MakeVideo) -> None:
    source = with_timecode(probe(make_video()), "10:00:00:20")
    assert source.frame_rate == 25
    doubled = replace(source, frame_rate=Fraction(50), untreated=source)
    assert first_timecode(doubled, WHOLE) == "10:00:00:40"
    assert first_timecode(doubled, TimeRange(start=Fraction(2, 5))) == "10:00:01:10"
