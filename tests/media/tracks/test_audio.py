from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.container import OutputContainer
from av.stream import Stream

from tests.sounds import WHOLE_CUT, hear, part, rewrite, write_sound
from vidx4.media.formats.containers import format_of
from vidx4.media.tracks.convert import add_converted, conversion, converted
from vidx4.media.tracks.timeline import Cut

SPAN = part(Fraction(1001, 1600), Fraction(9, 7))
AAC_PRIMING = 1024


def convert(source: Path, target: Path, cut: Cut = WHOLE_CUT) -> None:
    """Convert audio to the codec that suits the target's suffix."""
    with av.open(str(source)) as container:
        found = conversion(container.streams[0].codec_context.codec.canonical_name, format_of(target.suffix))
    assert found

    def add(output: OutputContainer, stream: Stream) -> Stream:
        return add_converted(output, stream, found.codec)

    rewrite(source, target, cut, add, converted)


def codec_of(path: Path) -> tuple[str, int, int]:
    with av.open(str(path)) as container:
        context = container.streams.audio[0].codec_context
        return context.codec.canonical_name, context.sample_rate, context.channels


@pytest.mark.parametrize("cut", [WHOLE_CUT, SPAN], ids=["whole", "part"])
@pytest.mark.parametrize(
    ("suffix", "codec", "layout", "to", "result"),
    [
        (".wav", "pcm_u8", "mono", ".mp4", "alac"),
        (".wav", "pcm_mulaw", "stereo", ".m4v", "alac"),
        (".wav", "pcm_alaw", "stereo", ".mkv", "flac"),
        (".wav", "pcm_s24le", "5.1", ".mkv", "flac"),
        (".mov", "pcm_s24be", "stereo", ".mp4", "pcm_s24le"),
        (".mov", "pcm_f32be", "stereo", ".mkv", "pcm_f32le"),
        (".flac", "flac", "stereo", ".mov", "alac"),
    ],
)
def test_every_sample_is_kept(
    tmp_path: Path, suffix: str, codec: str, layout: str, to: str, result: str, cut: Cut
) -> None:
    source, target = tmp_path / f"source{suffix}", tmp_path / f"target{to}"
    write_sound(source, codec, layout=layout)
    convert(source, target, cut)
    given = hear(source)[1]
    start, stop = (0, None) if cut.is_whole else (round(cut.start * 44100), round(cut.stop * 44100))
    begin, found = hear(target)
    assert begin == 0
    assert codec_of(target) == (result, 44100, len(given))
    assert np.array_equal(found, given[:, start:stop])


def test_transport_streams_get_aac_in_time(tmp_path: Path) -> None:
    write_sound(tmp_path / "source.wav", "pcm_s16le", 48000)
    convert(tmp_path / "source.wav", tmp_path / "target.ts")
    (_, given), (begin, found) = hear(tmp_path / "source.wav"), hear(tmp_path / "target.ts")
    assert codec_of(tmp_path / "target.ts") == ("aac", 48000, 2)
    assert begin * 48000 == -AAC_PRIMING
    heard = found[:, AAC_PRIMING : AAC_PRIMING + given.shape[1]]
    assert np.sqrt(np.square(heard - given).mean()) < 0.01  # a sample off would be 0.03


@pytest.mark.parametrize("rate", [48000, 44100])
def test_webm_gets_opus_without_its_priming(tmp_path: Path, rate: int) -> None:
    write_sound(tmp_path / "source.wav", "pcm_s16le", rate, "5.1")
    convert(tmp_path / "source.wav", tmp_path / "target.webm", SPAN)
    begin, found = hear(tmp_path / "target.webm")
    assert begin == 0
    assert codec_of(tmp_path / "target.webm") == ("opus", 48000, 6)
    assert found.shape[1] == pytest.approx((SPAN.stop - SPAN.start) * 48000, abs=2)


def test_gaps_become_silence_and_later_audio_stays_in_time(tmp_path: Path) -> None:
    write_sound(tmp_path / "source.mkv", "pcm_s16le", 48000, gap=4800)
    convert(tmp_path / "source.mkv", tmp_path / "target.mkv")
    write_sound(tmp_path / "gapless.wav", "pcm_s16le", 48000)
    (_, given), (_, found) = hear(tmp_path / "gapless.wav"), hear(tmp_path / "target.mkv")
    assert np.array_equal(found[:, :24000], given[:, :24000])
    assert not found[:, 24000:28800].any()
    assert np.array_equal(found[:, 28800:], given[:, 24000:])


def test_undecodable_packets_become_silence(tmp_path: Path) -> None:
    write_sound(tmp_path / "source.flac", "flac")
    data = bytearray((tmp_path / "source.flac").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    (tmp_path / "damaged.flac").write_bytes(data)
    convert(tmp_path / "damaged.flac", tmp_path / "target.mp4")
    (_, given), (_, found) = hear(tmp_path / "source.flac"), hear(tmp_path / "target.mp4")
    assert found.shape == given.shape
    assert np.array_equal(found[:, -10000:], given[:, -10000:])
