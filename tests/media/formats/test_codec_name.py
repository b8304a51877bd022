import av

from tests.conftest import MakeVideo
from vidx4.media.formats.codec_name import can_decode, codec_name


def test_codecs_have_their_own_names(make_video: MakeVideo) -> None:
    with av.open(str(make_video())) as container:
        assert [codec_name(stream) for stream in container.streams] == ["h264", "aac"]


def test_what_can_be_decoded() -> None:
    assert can_decode("hdmv_pgs_subtitle")
    assert not can_decode("dvb_teletext")
    assert not can_decode("")
