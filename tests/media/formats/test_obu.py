import pytest

from vidx4.media.formats.cc_data import MAX_TRIPLETS
from vidx4.media.formats.obu import add_captions, captions_in

DELIMITER, SEQUENCE = b"\x12\0", b"\x0a\3\0\0\0"
HIDDEN, SHOWN = b"\x32\2ab", b"\x32\2cd"
HELLO = b"\xfc\xc8\xe5" + b"\xfd\x80\x80"


def test_captions_stand_before_the_frame_that_is_shown() -> None:
    packet = add_captions(DELIMITER + SEQUENCE + HIDDEN + SHOWN, HELLO)
    assert packet.startswith(DELIMITER + SEQUENCE + HIDDEN)
    assert packet.endswith(SHOWN)
    assert captions_in(packet) == HELLO
    assert captions_in(DELIMITER + SEQUENCE + SHOWN) == b""


def test_a_frame_may_be_a_header_and_tiles_or_lack_its_size() -> None:
    header, tiles = b"\x1a\1x", b"\x22\1y"
    assert add_captions(header + tiles, HELLO).endswith(header + tiles)
    assert captions_in(add_captions(b"\x30rest of the packet", HELLO)) == HELLO


def test_more_than_one_message_holds_are_several_messages() -> None:
    triplets = bytes(range(3 * (2 * MAX_TRIPLETS + 1)))
    packet = add_captions(SHOWN, triplets)
    assert packet.count(b"GA94") == 3
    assert captions_in(packet) == triplets


def test_a_damaged_packet_has_no_captions() -> None:
    whole = add_captions(SHOWN, HELLO)
    for length in range(len(whole)):
        assert len(captions_in(whole[:length])) <= len(HELLO)
    with pytest.raises(ValueError, match="no frame"):
        add_captions(DELIMITER, HELLO)
