import pytest

from vidx4.media.formats.cc_data import MAX_TRIPLETS, caption_marks
from vidx4.media.formats.sei import add_captions, captions_in

START = b"\0\0\0\1"
PARAMETERS = START + b"\x09\xf0" + START + b"\x67\x42" + b"\0\0\1" + b"\x68\xce"
SLICE = b"\0\0\1" + b"\x65\x88\x84"
HEVC_PARAMETERS, HEVC_SLICE = START + b"\x40\1\x0c", START + b"\x26\1\xaf"
HELLO = b"\xfc\xc8\xe5" + b"\xfd\x80\x80"


@pytest.mark.parametrize(
    ("codec", "before", "after"),
    [("h264", PARAMETERS, SLICE), ("h264", b"", SLICE), ("hevc", HEVC_PARAMETERS, HEVC_SLICE)],
)
def test_captions_stand_between_parameters_and_the_first_slice(
    codec: str, before: bytes, after: bytes
) -> None:
    packet = add_captions(before + after, HELLO, codec)
    assert packet.startswith(before)
    assert packet.endswith(after)
    assert captions_in(packet, codec, b"") == HELLO
    assert any(mark in packet for mark in caption_marks(codec))


@pytest.mark.parametrize("triplets", [b"\0\0\0" * 5, b"\4\0\0\5\0\0", b"\0\0\1\0\0\2\0\0\3", b"\xfc\0\0"])
def test_no_caption_looks_like_a_start_code(triplets: bytes) -> None:
    packet = add_captions(SLICE, triplets, "h264")
    message = packet.removesuffix(SLICE).removeprefix(START)
    assert not any(bytes([0, 0, code]) in message for code in range(3))
    assert captions_in(packet, "h264", b"") == triplets


def test_more_than_one_message_holds_are_several_messages() -> None:
    triplets = bytes(range(3 * (2 * MAX_TRIPLETS + 1)))
    packet = add_captions(SLICE, triplets, "h264")
    assert packet.count(b"GA94") == 3
    assert captions_in(packet, "h264", b"") == triplets


def test_units_are_found_by_their_lengths() -> None:
    packet = add_captions(SLICE, HELLO, "h264")
    units = [unit for unit in packet.replace(START, b"\0\0\1").split(b"\0\0\1") if unit]
    stored = b"".join(len(unit).to_bytes(2) + unit for unit in units)
    assert captions_in(stored, "h264", b"\1\x64\0\x28\xfd") == HELLO


def test_other_messages_are_no_captions() -> None:
    unregistered = b"\0\0\1\6" + b"\5\x11" + bytes(range(1, 17)) + b"x\x80"
    packet = unregistered + add_captions(SLICE, HELLO, "h264")
    assert captions_in(packet, "h264", b"") == HELLO
    assert captions_in(unregistered + SLICE, "h264", b"") == b""


def test_a_damaged_packet_has_no_captions() -> None:
    whole = add_captions(SLICE, HELLO, "h264")
    for length in range(len(whole)):
        assert len(captions_in(whole[:length], "h264", b"")) <= len(HELLO)
        captions_in(whole[:length], "h264", b"\1\0\0\0\3")
    with pytest.raises(ValueError, match="no slice"):
        add_captions(PARAMETERS, HELLO, "h264")
