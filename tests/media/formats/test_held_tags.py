from fractions import Fraction

import pytest

from vidx4.media.formats.held_tags import tags_of_file, tags_of_stream

MUXERS = ("mp4", "mov", "matroska", "webm")
NAMES = {"title": "A film", "WM/ToolName": "Maker", "a:b": "1", "ä ö": "ü", "long": "x" * 70_000}


@pytest.mark.parametrize("muxer", MUXERS)
def test_any_key_is_held(muxer: str) -> None:
    held = tags_of_file(NAMES, muxer)
    assert not held.lost
    assert {key.replace("_", " "): value for key, value in held.kept.items()} == NAMES


def test_usual_names_are_for_every_player() -> None:
    assert "movflags" not in tags_of_file({"title": "A film", "artist": "Somebody"}, "mp4").options
    assert "movflags" in tags_of_file({"title": "A film", "camera": "Mine"}, "mp4").options


@pytest.mark.parametrize("muxer", MUXERS)
def test_what_is_not_true_of_the_copy_is_left_out(muxer: str) -> None:
    stale = {
        "encoder": "E",
        "encoder-eng": "E",
        "creation_time": "1601-01-01 00:00:00",
        "timecode": "01:00:00:00",
    }
    held = tags_of_file({**stale, "comment": ""}, muxer)
    assert (dict(held.kept), held.lost) == ({}, ())


@pytest.mark.parametrize("time", ["yesterday", "9999-01-01T00:00:00Z"])
@pytest.mark.parametrize("muxer", MUXERS)
def test_times_that_no_container_holds(muxer: str, time: str) -> None:
    held = tags_of_file({"creation_time": time, "artist": "Somebody"}, muxer)
    assert (dict(held.kept), held.lost) == ({"artist": "Somebody"}, ("creation_time",))


@pytest.mark.parametrize("muxer", MUXERS)
def test_a_time_with_a_zone_is_kept(muxer: str) -> None:
    assert not tags_of_file({"creation_time": "2020-02-03T10:00:00+02:00"}, muxer).lost


def test_of_keys_that_become_the_same_the_first_counts() -> None:
    held = tags_of_file({"A B": "1", "a_b": "2"}, "matroska")
    assert (dict(held.kept), held.lost) == ({"A_B": "1"}, ("a_b",))


@pytest.mark.parametrize("muxer", ["mp4", "mov"])
def test_a_title_is_the_name_that_players_show(muxer: str) -> None:
    held = tags_of_stream("audio", {"title": "Größe", "handler_name": "SoundHandler"}, muxer)
    assert (held.kept["handler_name"], held.lost) == ("Größe", ())


def test_a_long_title_spoils_nothing() -> None:
    held = tags_of_stream("audio", {"title": "T" * 300, "language": "eng"}, "mov")
    assert (held.kept["title"], held.kept["language"]) == ("T" * 300, "eng")


def test_tags_of_streams_that_mp4_lacks() -> None:
    assert tags_of_stream("audio", {"mood": "calm"}, "mp4").lost == ("mood",)
    assert tags_of_stream("audio", {"mood": "calm"}, "matroska").kept == {"mood": "calm"}


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(50)])
@pytest.mark.parametrize("muxer", MUXERS)
def test_timecodes_are_held_at_usual_rates(muxer: str, rate: Fraction) -> None:
    held = tags_of_stream("video", {}, muxer, "01:02:03:04", rate, 1 / rate)
    assert held.kept == {"timecode": "01:02:03:04"}


def test_a_service_has_a_short_name() -> None:
    assert tags_of_file({"title": "A film"}, "mpegts").kept == {"title": "A film"}
    assert tags_of_file({"title": "x" * 300}, "mpegts").kept == {}
