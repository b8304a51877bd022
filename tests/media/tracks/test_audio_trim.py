from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from tests.sounds import WHOLE_CUT, Read, hear, part, rewrite, write_sound
from vidx4.media.container import AnyPacket
from vidx4.media.tracks.audio import name_channels
from vidx4.media.tracks.audio_delay import declare_delay
from vidx4.media.tracks.convert import part_of
from vidx4.media.tracks.subtitle_trim import read_around
from vidx4.media.tracks.timeline import Cut

SPAN = part(Fraction(19, 16), Fraction(5, 3))
PLAIN_AAC = {"aac_pns": "0"}  # noise substitution decodes to different noise each time


def copy_sound(source: Path, target: Path, cut: Cut, read: Read = part_of) -> None:
    def add(output: OutputContainer, stream: Stream) -> Stream:
        copy = output.add_stream_from_template(stream, opaque=True)
        assert isinstance(copy, AudioStream)
        name_channels(copy)
        declare_delay(copy, source, stream.index, cut)
        return copy

    rewrite(source, target, cut, add, read)


@pytest.mark.parametrize("target", ["target.mp4", "target.mov", "target.mkv"])
@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("source.mp4", "aac", 44100),
        ("source.mkv", "aac", 44100),
        ("source.ts", "aac", 48000),
        ("source.mp4", "libmp3lame", 44100),
        ("source.mkv", "libmp3lame", 44100),
        ("source.mov", "alac", 44100),
        ("source.mov", "pcm_s16be", 44100),
        ("source.mkv", "pcm_s24le", 48000),
    ],
)
def test_a_part_is_heard_from_its_first_sample(
    tmp_path: Path, name: str, codec: str, rate: int, target: str
) -> None:
    write_sound(tmp_path / name, codec, rate, seconds=3, options=PLAIN_AAC if codec == "aac" else None)
    offset, given = hear(tmp_path / name)
    cut = part(SPAN.start + (1 if name.endswith("ts") else 0), SPAN.stop + (1 if name.endswith("ts") else 0))
    copy_sound(tmp_path / name, tmp_path / target, cut)
    begin, found = hear(tmp_path / target)
    wanted = given[:, round((cut.start - offset) * rate) : round((cut.stop - offset) * rate)]
    assert begin == 0
    assert np.allclose(found[:, : wanted.shape[1]], wanted, atol=1e-4)
    if target.endswith("mkv") or codec.startswith("pcm"):  # FFmpeg ignores where other MP4 audio ends
        assert found.shape == wanted.shape


def test_mp4_states_where_the_audio_ends(tmp_path: Path) -> None:
    write_sound(tmp_path / "source.mp4", "aac")
    copy_sound(tmp_path / "source.mp4", tmp_path / "target.mp4", SPAN)
    with av.open(str(tmp_path / "target.mp4")) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.pts is not None]
    last = packets[-1]
    assert last.pts is not None
    assert last.pts + (last.duration or 0) == round((SPAN.stop - SPAN.start) * 44100)


def test_transport_streams_keep_all_audio_in_time(tmp_path: Path) -> None:
    write_sound(tmp_path / "source.mp4", "aac", options=PLAIN_AAC)
    cut = Cut(SPAN.start, SPAN.stop, SPAN.span, SPAN.start - 1)
    copy_sound(tmp_path / "source.mp4", tmp_path / "target.ts", cut)
    (_, given), (begin, found) = hear(tmp_path / "source.mp4"), hear(tmp_path / "target.ts")
    early = round((1 - begin) * 44100)
    first, stop = round(cut.start * 44100), round(cut.stop * 44100)
    assert 0 < early < 3 * 1024
    assert np.allclose(found[:, early : early + stop - first], given[:, first:stop], atol=1e-4)


def test_matroska_hides_the_priming_of_a_whole_mp4(tmp_path: Path) -> None:
    write_sound(tmp_path / "source.mp4", "aac", options=PLAIN_AAC)
    copy_sound(tmp_path / "source.mp4", tmp_path / "target.mkv", WHOLE_CUT, packets_of)
    (_, given), (begin, found) = hear(tmp_path / "source.mp4"), hear(tmp_path / "target.mkv")
    assert begin == 0
    assert np.allclose(found, given, atol=1e-4)


def test_matroska_keeps_the_priming_it_states(tmp_path: Path) -> None:
    write_sound(tmp_path / "source.mkv", "aac", options=PLAIN_AAC)
    copy_sound(tmp_path / "source.mkv", tmp_path / "target.mkv", WHOLE_CUT, packets_of)
    (_, given), (begin, found) = hear(tmp_path / "source.mkv"), hear(tmp_path / "target.mkv")
    assert begin == 0
    assert np.array_equal(found, given)


def packets_of(original: InputContainer, stream: Stream, copy: Stream, cut: Cut) -> Iterator[AnyPacket]:
    for packet in read_around(original, stream, cut):
        packet.stream = copy
        yield packet


def test_a_part_without_audio_is_written(tmp_path: Path) -> None:
    write_sound(tmp_path / "source.ts", "aac", seconds=1)
    copy_sound(tmp_path / "source.ts", tmp_path / "target.mkv", part(Fraction(5), Fraction(6)))
    assert (tmp_path / "target.mkv").stat().st_size
