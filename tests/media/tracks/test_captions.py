"""Closed captions reach the frames of the copy, whatever becomes of the frames of the source."""

from fractions import Fraction
from pathlib import Path

import pytest

from tests.captioned import atsc, captioned, decoded_captions, mpeg2_with, recoded, triplets
from tests.helpers import upscale_nearest
from tests.video_builder import frames, pulled_down, scene, woven
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalExecutor
from vidx4.jobs.plan import Plan, plan_video
from vidx4.jobs.request import Request
from vidx4.jobs.run import run
from vidx4.jobs.verify import verify
from vidx4.media.formats.cc_data import MAX_TRIPLETS
from vidx4.media.options import EncodeOptions, ReadOptions
from vidx4.media.probe import probe
from vidx4.media.tracks.captions import Caption, place_captions
from vidx4.video import TimeRange

DROPPED = "closed captions"


def planned(path: Path, output: Path, codec: str = "h264", **request: object) -> Plan:
    preset = {"h264": "ultrafast", "hevc": "ultrafast", "av1": "10"}.get(codec)
    return plan_video(path, output, Request(encode=EncodeOptions(codec, encoder_preset=preset), **request))  # type: ignore[arg-type]


def enlarge(path: Path, output: Path, codec: str = "h264", **request: object) -> Path:
    run(Job(planned(path, output, codec, **request), LocalExecutor(upscale_nearest), 4))  # also verifies
    return output


def contents(path: Path) -> list[bytes]:
    return [data for _, data in decoded_captions(path)]


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [
        ("h264", ".mp4"),
        ("h264", ".ts"),
        ("h264", ".mkv"),
        ("hevc", ".mp4"),
        ("hevc", ".mkv"),
        ("hevc", ".ts"),
        ("av1", ".mp4"),
        ("av1", ".webm"),
    ],
)
def test_every_frame_keeps_its_captions(tmp_path: Path, codec: str, suffix: str) -> None:
    source = captioned(tmp_path / "a.mpg")
    assert probe(source).has_captions
    output = enlarge(source, tmp_path / f"out{suffix}", codec)
    assert contents(output) == contents(source) == [triplets(number) for number in range(12)]
    assert all(check.is_kept for check in verify(source, output))


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_captions_of_other_codecs_are_kept(tmp_path: Path, codec: str) -> None:
    source = recoded(captioned(tmp_path / "a.mpg"), tmp_path / "b.mp4", codec)
    assert probe(source).has_captions
    assert contents(enlarge(source, tmp_path / "out.mp4")) == contents(source) != [b""] * 12


def test_a_range_has_the_captions_of_its_frames(tmp_path: Path) -> None:
    source = captioned(tmp_path / "a.mpg", 40)
    span = TimeRange(Fraction(20 * 1001, 30000), Fraction(26 * 1001, 30000))
    output = enlarge(source, tmp_path / "out.mp4", span=span)
    assert contents(output) == [triplets(number) for number in range(20, 26)]


def test_fields_share_the_captions_of_their_frame(tmp_path: Path) -> None:
    pictures = frames(woven(list(scene(24))))
    source = captioned(tmp_path / "a.mpg", pictures=pictures, options={"flags": "+ildct+ilme"})
    output = enlarge(source, tmp_path / "out.mp4", read=ReadOptions(deinterlace="field"))
    found = contents(output)
    assert found[::2] == contents(source)
    assert found[1::2] == [b""] * 12


def test_film_has_all_captions_of_its_video(tmp_path: Path) -> None:
    pictures = frames(pulled_down(list(scene(16))))
    source = captioned(tmp_path / "a.mpg", 20, pictures=pictures)
    output = enlarge(source, tmp_path / "out.mp4", read=ReadOptions(inverse_telecine="on"))
    found = contents(output)
    assert len(found) == 16
    assert b"".join(found) == b"".join(contents(source))


def test_captions_of_a_whole_group_are_spread(tmp_path: Path) -> None:
    pairs = b"".join(b"\xff\x41" + bytes([0x20 + n]) + b"\xfe\x80\x80" for n in range(20))
    dvd = b"CC\1\xf8" + bytes([0x80 | 20 << 1]) + pairs
    source = mpeg2_with(tmp_path / "a.mpg", [dvd, *[b""] * 11])
    given, found = contents(source), contents(enlarge(source, tmp_path / "out.mp4"))
    assert len(given[0]) > 3 * MAX_TRIPLETS
    assert b"".join(found) == given[0]
    assert max(map(len, found)) == 3 * MAX_TRIPLETS


@pytest.mark.parametrize(
    ("codec", "name"), [("ffv1", "out.mkv"), ("vp9", "out.mp4"), ("auto", "out/%03d.png")]
)
def test_a_codec_that_holds_none_is_told_of(tmp_path: Path, codec: str, name: str) -> None:
    source = captioned(tmp_path / "a.mpg", 2)
    assert any(DROPPED in warning for warning in planned(source, tmp_path / name, codec).warnings)
    assert not any(DROPPED in warning for warning in planned(source, tmp_path / "out.mp4").warnings)


def test_a_video_without_captions_gets_none(tmp_path: Path) -> None:
    source = mpeg2_with(tmp_path / "a.mpg", [b"", b"DTG1\x41\xf8", b"something"])
    assert not probe(source).has_captions
    assert contents(enlarge(source, tmp_path / "out.mp4")) == [b""] * 3


def test_lost_and_late_captions_are_noticed(tmp_path: Path) -> None:
    num_frames, data = 20, triplets(5, 20)
    source = mpeg2_with(tmp_path / "a.mpg", [atsc(data), *[b""] * (num_frames - 1)])
    without = enlarge(mpeg2_with(tmp_path / "b.mpg", [b""] * num_frames), tmp_path / "without.mp4")
    late = mpeg2_with(tmp_path / "c.mpg", [*[b""] * (num_frames - 1), atsc(data)])
    late = enlarge(late, tmp_path / "late.mp4")
    for copy, subject in ((without, "closed captions"), (late, "delay of closed captions")):
        assert subject in {check.subject for check in verify(source, copy) if not check.is_kept}


def at(time: int, count: int, first: int = 0) -> Caption:
    return Caption(Fraction(time), b"".join(bytes([0xFC, first + each, 0]) for each in range(count)))


def test_captions_of_a_missing_frame_go_to_the_next() -> None:
    placed = place_captions([at(0, 1), at(1, 1, 50), at(2, 1, 90)], [Fraction(0), Fraction(2)])
    assert placed == {0: at(0, 1).triplets, 1: at(1, 1, 50).triplets + at(2, 1, 90).triplets}


def test_what_is_too_much_for_a_frame_is_carried_over() -> None:
    placed = place_captions([at(0, 40), at(1, 25, 100)], [Fraction(index) for index in range(4)])
    assert [len(placed[index]) // 3 for index in range(3)] == [31, 31, 3]
    assert b"".join(placed.values()) == at(0, 40).triplets + at(1, 25, 100).triplets


def test_the_last_frame_takes_what_remains() -> None:
    placed = place_captions([at(0, 40), at(7, 40, 60)], [Fraction(0), Fraction(1)])
    assert [len(placed[index]) // 3 for index in range(2)] == [31, 49]
    assert place_captions([], [Fraction(0)]) == {}
