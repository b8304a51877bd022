import pytest

from tests.conftest import MakeVideo
from vidx4.media.formats.containers import FORMATS, format_of, holds
from vidx4.media.probe import probe
from vidx4.media.tracks.convert import conversion
from vidx4.video import StreamInfo

TEXTS = ["mov_text", "subrip", "text", "webvtt"]
PCM = ["alaw", "bluray", "dvd", "f32be", "f64be", "mulaw", "s16be", "s24le", "s32be", "s8", "u8"]
SOUNDS = [*(f"pcm_{kind}" for kind in PCM), "alac", "flac", "truehd", "tta"]
LOSING = ["aac", "ac3", "mp3", "vorbis", "h264", "", "ass", "dvb_subtitle", "hdmv_pgs_subtitle"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_container_holds_what_streams_are_converted_to(make_video: MakeVideo, suffix: str) -> None:
    source = probe(make_video(num_frames=1, num_audio=0))
    for kind, codecs in (("subtitle", TEXTS), ("audio", SOUNDS)):
        for codec in codecs:
            found = conversion(codec, format_of(suffix))
            if found:
                assert holds(suffix, source, StreamInfo(1, kind, found.codec)), (codec, found)
            else:
                assert (suffix, kind) == (".ts", "subtitle")


@pytest.mark.parametrize("codec", LOSING)
def test_lossy_conversions_are_refused(codec: str) -> None:
    assert not any(conversion(codec, container) for container in FORMATS.values())


@pytest.mark.parametrize(
    ("codec", "container", "expected"),
    [
        ("subrip", "mp4", "mov_text"),
        ("mov_text", "matroska", "subrip"),
        ("mov_text", "webm", "webvtt"),
        ("pcm_u8", "mp4", "alac"),
        ("pcm_s8", "matroska", "flac"),
        ("pcm_bluray", "mov", "pcm_s24le"),
        ("pcm_f64be", "matroska", "pcm_f64le"),
        ("pcm_s16le", "mpegts", "aac"),
        ("pcm_s16le", "webm", "opus"),
    ],
)
def test_the_codec_suits_the_container(codec: str, container: str, expected: str) -> None:
    found = conversion(codec, container)
    assert found
    assert found.codec == expected
    assert ("kbit/s" in found.note) == (expected in ("aac", "opus"))
