"""Files as recorders, downloads and other programs leave them, enlarged by jobs that verify their output."""

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from scripts.stress.containers import enlarge
from tests.capabilities import needs_pipes
from tests.clocks import joined, recording
from tests.video_builder import frames, scene, text_packet, write
from vidx4.jobs.plan import plan_video
from vidx4.jobs.still.read import is_picture
from vidx4.media.probe import probe

PACKET = 188
"""Bytes of a packet of MPEG-TS."""
TEXTS = (
    "A <i>slanted</i> word",
    '<font color="#ff0000">Red</font>',
    "{\\an8}Top",
    "<u>Under</u> <b>bold</b>",
)


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_styled_texts_become_mov_text(suffix: str, tmp_path: Path) -> None:
    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        return [container.add_mux_stream("subrip")]

    def fill(container: OutputContainer, streams: Sequence[Stream]) -> None:
        for index, text in enumerate(TEXTS):
            container.mux(text_packet(streams[0], text, 0.2 * index, 0.2 * index + 0.2))

    path = write(
        tmp_path / "film.mkv", frames(scene(25)), time_base=Fraction(1, 1000), prepare=prepare, fill=fill
    )
    (warning,) = enlarge(path, tmp_path / f"out{suffix}")
    assert "mov_text" in warning


def lost_packet(film: Path, number: int) -> Path:
    """Return a copy of a transport stream without one packet of its sound."""
    data = film.read_bytes()
    places = [at for at in range(0, len(data), PACKET) if (data[at + 1] & 0x1F) << 8 | data[at + 2] == 0x101]
    copy = film.with_name(f"lost{number}.ts")
    copy.write_bytes(data[: places[number]] + data[places[number] + PACKET :])
    return copy


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_sound_with_lost_packets(suffix: str, tmp_path: Path) -> None:
    film = recording(tmp_path / "film.ts", 50)
    for number in (5, 9, 14):
        enlarge(lost_packet(film, number), tmp_path / f"out{number}{suffix}")


@pytest.mark.parametrize("cut", [1, 2, 3, 5, 8])
def test_sound_that_is_cut_off(cut: int, tmp_path: Path) -> None:
    film = recording(tmp_path / "film.ts", 30)
    film.write_bytes(film.read_bytes()[: -cut * PACKET])
    enlarge(film, tmp_path / "out.mp4")


@pytest.mark.parametrize("num_frames", [2, 3, 5])
@pytest.mark.parametrize("suffix", [".ts", ".flv"])
def test_a_very_short_first_piece(num_frames: int, suffix: str, tmp_path: Path) -> None:
    short = recording(tmp_path / f"short{suffix}", num_frames)
    film = joined(tmp_path / f"film{suffix}", short, recording(tmp_path / f"long{suffix}", 20))
    enlarge(film, tmp_path / "out.mp4")
    assert probe(tmp_path / "out.mp4").num_frames == 20 + num_frames


def test_sound_that_ffmpeg_finds_too_late_is_named(tmp_path: Path) -> None:
    silent = recording(tmp_path / "silent.ts", 200, num_audio=0)
    film = joined(tmp_path / "film.ts", silent, recording(tmp_path / "heard.ts", 20))
    plan = plan_video(film, tmp_path / "out.mp4")
    assert any("Stream 1 (aac audio eng) is dropped" in warning for warning in plan.warnings)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_cover_in_png(suffix: str, tmp_path: Path) -> None:
    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        cover = container.add_mux_stream("png", width=8, height=8)
        cover.disposition = Disposition.attached_pic
        return [cover]

    def fill(container: OutputContainer, streams: Sequence[Stream]) -> None:
        from PIL import Image

        picture = tmp_path / "cover.png"
        Image.new("RGB", (8, 8), "red").save(picture)
        packet: Packet[Stream] = Packet(picture.read_bytes())
        packet.stream, packet.is_keyframe = streams[0], True
        packet.pts = packet.dts = 0
        container.mux(packet)

    path = write(tmp_path / "film.mp4", frames(scene(12)), prepare=prepare, fill=fill)
    assert enlarge(path, tmp_path / f"out{suffix}") == ()


def test_a_second_video_that_players_prefer(tmp_path: Path) -> None:
    def prepare(container: OutputContainer, video: VideoStream) -> list[Stream]:
        video.disposition = Disposition(0)
        other = container.add_stream("mpeg4", rate=25)
        assert isinstance(other, VideoStream)
        other.width, other.height, other.pix_fmt = 32, 16, "yuv420p"
        return [other]

    def fill(container: OutputContainer, streams: Sequence[Stream]) -> None:
        other = streams[0]
        assert isinstance(other, VideoStream)
        for picture in frames(scene(12)):
            container.mux(other.encode(picture.reformat(width=32, height=16)))
        container.mux(other.encode(None))

    path = write(tmp_path / "film.mkv", frames(scene(12)), prepare=prepare, fill=fill)
    assert plan_video(path, tmp_path / "out.mkv").rehearsal.lost == ()


@needs_pipes
def test_a_pipe_is_no_picture(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert not is_picture(tmp_path / "pipe.png")


def test_a_stream_of_pictures_is_a_video(tmp_path: Path) -> None:
    film = recording(
        tmp_path / "film.mjpeg", 5, codec="mjpeg", pix_fmt="yuvj420p", num_audio=0, num_b_frames=0
    )
    assert not is_picture(film)
    assert probe(film).num_frames == 5
