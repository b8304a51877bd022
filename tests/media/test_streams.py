from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.conftest import MakeVideo
from tests.media.tracks.test_subtitles import write_cues
from tests.video_builder import frames, scene, write
from vidx4.errors import ContainerError, OptionError, OutputError
from vidx4.media.container import read_packets
from vidx4.media.options import StreamOptions
from vidx4.media.probe import probe
from vidx4.media.streams import choose_streams, choose_suffix
from vidx4.media.tracks.presence import Presence
from vidx4.video import Source, StreamInfo


def holding(source: Source, *kinds: tuple[str, str]) -> Source:
    """Add streams to what is known of a source: numbers continue from 2."""
    extra = (StreamInfo(index, *kind) for index, kind in enumerate(kinds, start=2))
    return replace(source, streams=(*source.streams, *extra))


def carried(
    source: Source, suffix: str, options: StreamOptions = StreamOptions()
) -> list[tuple[int, str | None]]:
    streams = choose_streams(source, suffix, options=options)
    return [(each.stream.index, each.codec) for each in streams.carried]


def test_all_that_a_container_holds_is_copied(make_video: MakeVideo) -> None:
    source = holding(probe(make_video()), ("subtitle", "subrip"), ("subtitle", "ass"), ("attachment", ""))
    assert carried(source, ".mkv") == [(1, None), (2, None), (3, None), (4, None)]


def test_text_is_converted(make_video: MakeVideo) -> None:
    source = holding(probe(make_video()), ("subtitle", "subrip"))
    assert carried(source, ".mp4") == [(1, None), (2, "mov_text")]
    (warning,) = choose_streams(source, ".mp4").warnings
    assert "Stream 2 (subrip subtitle)" in warning
    assert "mov_text" in warning


def test_streams_that_would_suffer_are_refused(make_video: MakeVideo) -> None:
    source = holding(probe(make_video()), ("subtitle", "hdmv_pgs_subtitle"))
    with pytest.raises(ContainerError, match=r"stream 2 \(hdmv_pgs_subtitle subtitle\).*\.mkv.*--subtitles"):
        choose_streams(source, ".mp4")
    assert carried(source, ".mp4", StreamOptions(subtitles="none")) == [(1, None)]
    with pytest.raises(ContainerError, match=r"stream 1 \(aac audio eng\)"):
        choose_streams(source, ".webm", options=StreamOptions(subtitles="none"))


def test_fonts_and_data_are_dropped(make_video: MakeVideo) -> None:
    source = holding(probe(make_video()), ("attachment", ""), ("data", "bin_data"))
    assert [stream.index for stream, _ in choose_streams(source, ".mp4").lost] == [2, 3]


def test_an_undescribed_stream_is_dropped(make_video: MakeVideo) -> None:
    source = probe(make_video())
    damaged = StreamInfo(2, "video", "h264", "0x0", is_described=False)
    streams = choose_streams(replace(source, streams=(*source.streams, damaged)), ".mkv")
    assert [each.stream.index for each in streams.carried] == [1]
    assert [stream.index for stream, _ in streams.lost] == [2]
    assert ["Stream 2 (h264 video)" in warning for warning in streams.warnings] == [True]


@pytest.mark.parametrize(("audio", "expected"), [("all", [1, 2]), ("none", []), ("2", [2]), ("2,1", [1, 2])])
def test_audio_is_selected(make_video: MakeVideo, audio: str, expected: list[int]) -> None:
    source = probe(make_video(num_audio=2))
    options = StreamOptions(audio=audio)
    assert [index for index, _ in carried(source, ".mp4", options)] == expected


@pytest.mark.parametrize("audio", ["0", "7", "first", "1,"])
def test_streams_that_are_not_audio(make_video: MakeVideo, audio: str) -> None:
    with pytest.raises(OptionError, match=r"--audio|audio.*: 1\."):
        choose_streams(probe(make_video()), ".mp4", options=StreamOptions(audio=audio))


@pytest.mark.parametrize(
    ("extra", "options", "codec", "suffix"),
    [
        ([("subtitle", "hdmv_pgs_subtitle")], StreamOptions(), "auto", ".mkv"),
        ([("subtitle", "hdmv_pgs_subtitle")], StreamOptions(subtitles="none"), "auto", ".mp4"),
        ([("audio", "pcm_s16le")], StreamOptions(), "auto", ".mov"),
        ([], StreamOptions(), "prores", ".mov"),
        ([("attachment", "")], StreamOptions(), "auto", ".mkv"),
        ([("data", "bin_data")], StreamOptions(), "auto", ".mp4"),
    ],
)
def test_the_container_follows(
    make_video: MakeVideo, extra: list[tuple[str, str]], options: StreamOptions, codec: str, suffix: str
) -> None:
    assert choose_suffix(holding(probe(make_video()), *extra), codec, options) == suffix


def test_suffix_of_unknown_kind(make_video: MakeVideo) -> None:
    with pytest.raises(OutputError, match=r"\.avi.*\.mkv"):
        choose_streams(probe(make_video()), Path("a.avi").suffix)


@pytest.mark.parametrize("codec", ["cook", "ra_288", "sipr", "atrac3"])
def test_sound_that_no_container_holds_is_converted(make_video: MakeVideo, codec: str) -> None:
    source = holding(probe(make_video()), ("audio", codec))
    for suffix in (".mp4", ".mov", ".mkv", ".ts"):
        assert carried(source, suffix, StreamOptions(audio="2")) == [(2, "aac")]
    assert carried(source, ".webm", StreamOptions(audio="2")) == [(2, "opus")]


def test_lossless_sound_stays_lossless(make_video: MakeVideo) -> None:
    source = holding(probe(make_video()), ("audio", "ralf"))
    assert carried(source, ".mkv", StreamOptions(audio="2")) == [(2, "flac")]
    assert carried(source, ".mp4", StreamOptions(audio="2")) == [(2, "alac")]


def test_streams_without_a_known_codec_are_dropped(make_video: MakeVideo) -> None:
    source = holding(probe(make_video()), ("audio", ""), ("subtitle", "dvb_teletext"))
    for suffix in (".mp4", ".mkv"):
        assert [stream.index for stream, _ in choose_streams(source, suffix).lost] == [2, 3]


def test_a_track_of_timecodes_is_not_lost(make_video: MakeVideo) -> None:
    source = probe(make_video())
    track = StreamInfo(2, "data", "", tags=(("timecode", "01:00:00:00"),))
    assert choose_streams(replace(source, streams=(*source.streams, track)), ".mp4").lost == ()


def test_streams_are_found_where_their_packets_are(make_video: MakeVideo) -> None:
    source = probe(make_video())
    assert not any(stream.is_empty for stream in source.streams)
    (stretch,) = source.streams[1].stretches or ()
    assert stretch[0] <= 0
    assert abs(stretch[1] - source.duration) < Fraction(1, 10)
    assert not {"tags", "stretches"} & source.facts()["streams"][1].keys()


def test_too_many_streams_are_refused(make_video: MakeVideo) -> None:
    source = holding(probe(make_video()), *[("audio", "mp3")] * 200)
    with pytest.raises(ContainerError, match=r"holds 201 streams.*128.*--audio"):
        choose_streams(source, ".mkv")
    assert len(carried(source, ".mkv", StreamOptions(audio="1,2,3"))) == 3


def test_texts_that_no_screen_has_room_for_are_not_combined(tmp_path: Path) -> None:
    """MP4 shows one text at once: each combination of those that overlap would be a text of its own."""
    path = write_cues(tmp_path / "a.mkv", "subrip", [(n, 100_000, f"text {n}") for n in range(60)])
    with av.open(str(path)) as container:
        (stream,) = container.streams.subtitles
        presence = Presence()
        for _ in presence.watch(read_packets(container, stream)):
            pass
        assert presence.most_at_once(stream) == 60
    info = StreamInfo(2, "subtitle", "subrip", most_at_once=60)
    source = probe(write(tmp_path / "b.mkv", frames(scene(2)), num_audio=0))
    source = replace(source, streams=(*source.streams, info))
    ((_, why),) = choose_streams(source, ".mp4").lost
    assert "more than 50 texts at once" in why
    assert carried(source, ".mkv") == [(2, None)]
