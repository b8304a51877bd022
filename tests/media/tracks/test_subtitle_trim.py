import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

from tests.sounds import part, rewrite
from vidx4.media.tracks.convert import part_of

MILLISECOND = Fraction(1, 1000)
SPAN = part(Fraction(10), Fraction(12))
Shown = tuple[int, int, bytes]


def clip(folder: Path, codec: str, shown: Sequence[Shown]) -> list[Shown]:
    """Return the part of pictures or texts from 10 to 12 s, with times in milliseconds."""
    with av.open(str(folder / "source.mkv"), "w") as container:
        stream = container.add_mux_stream(codec, time_base=MILLISECOND)
        for start, stop, payload in shown:
            packet = Packet(payload)
            packet.stream, packet.time_base, packet.duration = stream, MILLISECOND, stop - start
            packet.pts = packet.dts = start
            container.mux(packet)

    def add(output: OutputContainer, stream: Stream) -> Stream:
        return output.add_stream_from_template(stream, opaque=True)

    rewrite(folder / "source.mkv", folder / "target.mkv", SPAN, add, part_of)
    with av.open(str(folder / "target.mkv")) as clipped:
        return [
            (packet.pts, packet.pts + (packet.duration or 0), bytes(packet))
            for packet in clipped.demux(subtitles=0)
            if packet.pts is not None
        ]


def pgs(state: int, num_objects: int) -> bytes:
    """Return a PGS picture of two segments: the first and the last."""
    content = struct.pack(">HHBHBBBB", 1920, 1080, 0x10, state, state, 0, 0, num_objects)
    return struct.pack(">BH", 0x16, len(content)) + content + b"\x80\0\0"


def dvb(state: int, num_regions: int) -> bytes:
    """Return the first segment of a DVB page."""
    content = bytes([30, state << 2]) + bytes(6 * num_regions)
    return struct.pack(">BBHH", 0x0F, 0x10, 1, len(content)) + content


@pytest.mark.parametrize("codec", ["subrip", "webvtt"])
def test_text_shown_at_the_cut_is_kept(tmp_path: Path, codec: str) -> None:
    shown = [(0, 9_900, b"over"), (1, 10_400, b"long"), (9_500, 11_000, b"later"), (11_500, 13_000, b"end")]
    expected = [(0, 400, b"long"), (0, 1000, b"later"), (1500, 2000, b"end")]
    assert clip(tmp_path, codec, [*shown, (12_000, 12_500, b"after")]) == expected


def test_text_without_a_duration_is_kept_if_none_follows(tmp_path: Path) -> None:
    shown = [(8_000, 8_000, b"over"), (9_000, 9_000, b"shown"), (11_000, 11_000, b"next")]
    assert clip(tmp_path, "subrip", shown) == [(0, 0, b"shown"), (1000, 1000, b"next")]


@pytest.mark.parametrize(
    ("codec", "first", "update", "empty"),
    [
        ("hdmv_pgs_subtitle", pgs(0x80, 1), pgs(0, 2), pgs(0, 0)),
        ("dvb_subtitle", dvb(2, 1), dvb(0, 2), dvb(0, 0)),
    ],
    ids=["pgs", "dvb"],
)
def test_pictures_keep_those_that_they_build_on(
    tmp_path: Path, codec: str, first: bytes, update: bytes, empty: bytes
) -> None:
    before, inside = [(7000, 7000, first), (9000, 9000, update)], [(11_000, 11_000, empty)]
    begun = [(6000, 6000, first), *before, *inside]
    assert clip(tmp_path, codec, begun) == [(0, 0, first), (0, 0, update), (1000, 1000, empty)]
    assert clip(tmp_path, codec, [*before, (9500, 9500, empty), *inside]) == [(1000, 1000, empty)]


def test_subpictures_keep_their_end(tmp_path: Path) -> None:
    def subpicture(start: int, stop: int) -> bytes:
        """Return a DVD's subpicture without pixels, with dates in units of 1024 / 90000 s."""
        first = struct.pack(">HHBB", start, 10, 0x01, 0xFF)
        return struct.pack(">HH", 16, 4) + first + struct.pack(">HHBB", stop, 10, 0x02, 0xFF)

    shown = [(9_000, 11_000, subpicture(0, 176)), (11_500, 14_000, subpicture(0, 220))]
    assert clip(tmp_path, "dvd_subtitle", shown) == [
        (0, 1000, subpicture(0, 88)),
        (1500, 2000, subpicture(0, 43)),
    ]
