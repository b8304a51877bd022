"""Streams, languages, tags and timecodes that containers hold in their own way, or not at all.

A job ends well only if its output is verified, so what is kept is checked by the jobs themselves.
"""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from scripts.stress.containers import enlarge
from tests.helpers import upscale_nearest
from tests.video_builder import frames, scene, text_packet, woven, write
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalExecutor
from vidx4.jobs.plan import plan_video
from vidx4.jobs.request import Request
from vidx4.jobs.run import run
from vidx4.media.options import Deinterlace, EncodeOptions, ReadOptions
from vidx4.media.probe import probe
from vidx4.media.streams import choose_suffix
from vidx4.video import TimeRange

SECOND_HALF = TimeRange(start=Fraction(2, 5))
MILLISECOND = Fraction(1, 1000)
TELETEXT_UNIT = b"\x02\x2c\xe7\xe4" + bytes(range(42))


def described(folder: Path, name: str, language: str = "", **tags: str) -> Path:
    """Write a video with sound whose language and whose file has some tags."""

    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        container.metadata.update(tags)
        container.streams.audio[0].metadata["language"] = language
        return []

    time_base = MILLISECOND if name.endswith(".mkv") else Fraction(1, 12800)
    return write(folder / name, frames(scene(20)), prepare=prepare, time_base=time_base)


def video_tags(path: Path) -> dict[str, str]:
    with av.open(str(path)) as container:
        return {key.lower(): value for key, value in container.streams.video[0].metadata.items()}


def languages(path: Path) -> list[str]:
    return [stream.language for stream in probe(path).streams if stream.kind != "video"]


@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv"])
def test_a_timecode_is_carried(suffix: str, tmp_path: Path) -> None:
    path, output = described(tmp_path, "source.mov", timecode="01:02:03:20"), tmp_path / f"out{suffix}"
    assert enlarge(path, output) == ()
    assert video_tags(output)["timecode"] == "01:02:03:20"
    enlarge(path, output, SECOND_HALF)
    assert video_tags(output)["timecode"] == "01:02:04:05"


def test_a_lost_timecode_is_told(tmp_path: Path) -> None:
    path = described(tmp_path, "source.mov", timecode="01:02:03:20")
    assert "timecode 01:02:03:20" in " ".join(enlarge(path, tmp_path / "out.ts"))


def test_a_timecode_needs_a_constant_rate(tmp_path: Path) -> None:
    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        container.metadata["timecode"] = "01:02:03:04"
        return []

    pts = [0, 40, 95, 120, 160, 290]
    path = write(tmp_path / "vfr.mkv", frames(scene(6)), pts=pts, time_base=MILLISECOND, prepare=prepare)
    (warning,) = enlarge(path, tmp_path / "out.mov")
    assert "01:02:03:04" in warning
    assert "constant" in warning


def test_a_timecode_counts_the_fields_that_become_frames(tmp_path: Path) -> None:
    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        video.metadata["timecode"] = "01:02:03:20"
        return []

    fields = frames(woven(list(scene(24))))
    options = {"flags": "+ildct+ilme", "x264-params": "tff=1"}
    path = write(tmp_path / "fields.mov", fields, options=options, prepare=prepare)
    request = Request(read=ReadOptions(deinterlace=Deinterlace.FIELD), encode=EncodeOptions(crf=40))
    run(Job(plan_video(path, tmp_path / "out.mov", request), LocalExecutor(upscale_nearest), 8))
    assert video_tags(tmp_path / "out.mov")["timecode"] == "01:02:03:40"


def test_the_timecode_of_a_tape(tmp_path: Path) -> None:
    path = tmp_path / "tape.dv"
    with av.open(str(path), "w") as container:
        container.metadata["timecode"] = "10:11:12:13"
        video = container.add_stream("dvvideo", rate=25)
        video.width, video.height, video.pix_fmt = 720, 576, "yuv420p"
        for frame in frames(scene(2)):
            container.mux(video.encode(frame.reformat(720, 576)))
    enlarge(path, tmp_path / "out.mov")
    assert video_tags(tmp_path / "out.mov")["timecode"] == "10:11:12:13"


@pytest.mark.parametrize(
    ("language", "suffix", "expected"),
    [
        ("en", ".mp4", "eng"),
        ("deu", ".mov", "ger"),
        ("ENG", ".ts", "eng"),
        ("eng,deu", ".ts", "eng,deu"),
        ("en", ".mkv", "en"),
    ],
)
def test_a_language_is_named_as_the_container_does(
    language: str, suffix: str, expected: str, tmp_path: Path
) -> None:
    path, output = described(tmp_path, "source.mkv", language), tmp_path / f"out{suffix}"
    assert "language" not in " ".join(enlarge(path, output))
    assert languages(output) == [expected]


@pytest.mark.parametrize(
    ("language", "said"),
    [("eng,deu", "written as eng"), ("de-DE", "written as deu"), ("mumbling", "dropped")],
)
def test_a_language_that_is_not_kept_whole_is_told(language: str, said: str, tmp_path: Path) -> None:
    path = described(tmp_path, "source.mkv", language)
    (warning,) = enlarge(path, tmp_path / "out.mp4")
    assert f"stream 1, {language}, is {said}" in warning


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".ts"])
def test_odd_tags_stop_nothing(suffix: str, tmp_path: Path) -> None:
    odd = {"WM/Tool": "x", "a b": "1", "x:y": "z", "encoder-eng": "E", "creation_time": "0001-01-01T00:00:00"}
    path = described(tmp_path, "source.mkv", "eng", title="x" * 300, location="here", **odd)
    enlarge(path, tmp_path / f"out{suffix}")


def test_lost_tags_are_told(tmp_path: Path) -> None:
    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        video.metadata["mood"] = "calm"
        return []

    path = write(tmp_path / "a.mkv", frames(scene(8)), prepare=prepare, time_base=MILLISECOND, num_audio=0)
    assert "MOOD" in " ".join(enlarge(path, tmp_path / "out.mp4"))


def teletext(folder: Path) -> Path:
    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        stream = container.add_mux_stream("dvb_teletext", time_base=Fraction(1, 90000))
        stream.metadata["language"] = "deu"
        return [stream]

    def fill(container: OutputContainer, streams: Sequence[Stream]) -> None:
        for index in range(20):
            packet: Packet[Stream] = Packet(b"\x10" + TELETEXT_UNIT)
            packet.stream, packet.time_base = streams[0], Fraction(1, 25)
            packet.pts = packet.dts = index
            container.mux(packet)

    pictures = frames(scene(20))
    return write(folder / "teletext.ts", pictures, prepare=prepare, fill=fill, audio_codec="mp2")


def test_teletext_stays_in_a_transport_stream(tmp_path: Path) -> None:
    path = teletext(tmp_path)
    assert choose_suffix(probe(path)) == ".ts"
    for span in (TimeRange(), SECOND_HALF):
        assert "teletext" not in " ".join(enlarge(path, tmp_path / "out.ts", span))
        assert "dvb_teletext" in [stream.codec for stream in probe(tmp_path / "out.ts").streams]
    (warning,) = enlarge(path, tmp_path / "out.mkv")
    assert "dvb_teletext" in warning


def latm(folder: Path) -> Path:
    """Write a transport stream with AAC in LATM."""
    plain, path = write(folder / "plain.mp4", frames(scene(20))), folder / "latm.ts"
    options = {"mpegts_flags": "latm"}
    with av.open(str(plain)) as given, av.open(str(path), "w", container_options=options) as container:
        copies = [container.add_stream_from_template(stream, opaque=True) for stream in given.streams]
        for packet in given.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream_index]
                container.mux(packet)
    return path


def test_latm_is_copied_or_converted(tmp_path: Path) -> None:
    path = latm(tmp_path)
    assert [stream.codec for stream in probe(path).streams] == ["h264", "aac_latm"]
    assert choose_suffix(probe(path)) == ".ts"
    assert "aac_latm" not in " ".join(enlarge(path, tmp_path / "out.ts"))
    assert "aac_latm audio) is converted to aac" in " ".join(enlarge(path, tmp_path / "out.mp4"))


def test_sound_that_nothing_holds_is_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.video_builder.SAMPLE_RATE", 44100)  # the codec has no 48 kHz
    path = tmp_path / "source.flv"
    write(path, frames(scene(12)), codec="flv", audio_codec="adpcm_swf", time_base=MILLISECOND)
    assert choose_suffix(probe(path)) == ".mkv"
    for suffix in (".mp4", ".mkv"):
        assert "adpcm_swf audio) is converted to aac" in " ".join(enlarge(path, tmp_path / f"out{suffix}"))


def test_a_codec_that_is_unknown_is_named_so(tmp_path: Path) -> None:
    path = write(tmp_path / "source.mp4", frames(scene(12)), num_audio=2)
    first, _, last = path.read_bytes().rpartition(b"mp4a")
    path.write_bytes(first + b"apac" + last.replace(b"esds", b"free"))
    (warning,) = enlarge(path, tmp_path / "out.mp4")
    assert "unknown" in warning


def test_empty_streams_are_left_out_where_none_can_be(tmp_path: Path) -> None:
    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        return [container.add_stream("aac", rate=48000)]

    path = write(tmp_path / "source.mkv", frames(scene(12)), prepare=prepare, time_base=MILLISECOND)
    assert [stream.is_empty for stream in probe(path).streams] == [False, False, True]
    assert enlarge(path, tmp_path / "out.mkv") == ()
    for suffix in (".mp4", ".mov", ".ts"):
        assert "Stream 2 (aac audio) is dropped: it is empty." in enlarge(path, tmp_path / f"out{suffix}")


def test_streams_that_are_empty_in_a_range(tmp_path: Path) -> None:
    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        return [container.add_mux_stream("subrip", time_base=MILLISECOND)]

    def fill(container: OutputContainer, streams: Sequence[Stream]) -> None:
        container.mux(text_packet(streams[0], "Hello", 0.1, 0.2))

    pictures = frames(scene(20))
    path = write(tmp_path / "source.mkv", pictures, prepare=prepare, fill=fill, time_base=MILLISECOND)
    enlarge(path, tmp_path / "whole.mp4")
    assert len(probe(tmp_path / "whole.mp4").streams) == 3
    (warning,) = enlarge(path, tmp_path / "out.mp4", SECOND_HALF)
    assert "subrip" in warning
    assert "empty in this range" in warning
