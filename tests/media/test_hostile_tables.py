"""Files of a few bytes that claim to hold more than memory does, or cause work without end."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import pytest

from vidx4.errors import SourceError
from vidx4.media.formats import sample_tables
from vidx4.media.formats.sample_tables import num_entries
from vidx4.media.pictures.animated_webp import _Animation
from vidx4.media.pictures.read_sequence import NumberedPictures
from vidx4.media.probe import probe
from vidx4.media.tracks.styled_text import _read_mp4, _read_srt, _read_vtt

MANY = 60_000_000


def box(kind: bytes, *content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + sum(map(len, content)), kind) + b"".join(content)


def table(kind: bytes, *numbers: int) -> bytes:
    return box(kind, struct.pack(f">{1 + len(numbers)}I", 0, *numbers))


def movie(*tables: bytes, handler: bytes = b"vide", edits: int = 1) -> bytes:
    """Return the header of a QuickTime file of one track."""
    media = box(
        b"mdia",
        box(b"hdlr", struct.pack(">I4s4s13x", 0, b"mhlr", handler)),
        box(b"minf", box(b"stbl", *tables)),
    )
    edit_list = box(b"edts", box(b"elst", struct.pack(">2I", 0, edits), bytes(12)))
    return box(b"moov", box(b"trak", edit_list, media))


def compressed(header: bytes) -> bytes:
    packed = struct.pack(">I", len(header)) + zlib.compress(header)
    return box(b"moov", box(b"cmov", box(b"dcom", b"zlib"), box(b"cmvd", packed)))


FTYP = box(b"ftyp", b"qt  \0\0\0\0")
SIZES = table(b"stsz", 1, MANY)
SOUND = (
    *(table(b"stts", 1, MANY, 1), table(b"stsc", 1, 1, 2048, 1), SIZES),
    table(b"stco", MANY // 2048),
)


@pytest.mark.parametrize(
    "content",
    [
        FTYP + movie(SIZES),
        FTYP + movie(table(b"stz2", 8, MANY)),
        FTYP + compressed(movie(SIZES)),
        FTYP + box(b"moof", box(b"traf", table(b"trun", MANY))),
        FTYP + box(b"moof", box(b"traf", table(b"trun", MANY // 4))) * 4,
        FTYP + box(b"free", movie(SIZES)),
        FTYP + movie(table(b"stsz", 1, 10_000), edits=6_000),
        box(b"mdat", bytes(100)) + movie(*SOUND, table(b"stsz", 1, MANY), handler=b"vide"),
    ],
    ids=["constant", "compact", "compressed", "fragment", "fragments", "free", "edits", "no sound"],
)
def test_claimed_samples_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "film.mov"
    path.write_bytes(content)
    assert num_entries(BytesIO(content), "film.mov") >= MANY
    with pytest.raises(SourceError, match=r"film\.mov claims to hold more than 12,000,000 samples"):
        probe(path)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (FTYP + compressed(compressed(movie(SIZES))), "a header that is compressed twice"),
        (FTYP + compressed(bytes(1 << 26)), "compressed headers of more than 64 MiB"),
        (FTYP + compressed(bytes(1 << 20)) * 64, "compressed headers of more than 64 MiB"),
        (FTYP + box(b"free", b"cmvd" * 20_000), "compressed headers of more than 64 MiB"),
        (FTYP + box(b"free") * 20, "more than 20 boxes"),
        (FTYP + movie(*[box(b"free")] * 20, handler=b"soun"), "more than 20 boxes"),
        (FTYP + box(b"udta", b"stsz" * 20), "more than 20 boxes"),
    ],
    ids=["twice", "inflated", "often", "empty", "boxes", "nested", "names"],
)
def test_work_without_end_is_refused(content: bytes, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_tables, "_MAX_BOXES", 20 if "20" in what else 100_000)
    with pytest.raises(SourceError, match=rf"film\.mov holds {what}: copy its streams"):
        num_entries(BytesIO(content), "film.mov")


def test_a_sparse_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "film.mov"
    with path.open("wb") as file:
        file.write(FTYP + struct.pack(">I4sQ", 1, b"free", 1 << 40) + b"cmvd")
        file.truncate(1 << 40)
    with pytest.raises(SourceError, match=r"film\.mov holds more than 1 GiB beside its video and sound"):
        probe(path)


def test_tables_are_counted_once_and_wherever_they_are() -> None:
    """A name may lie in the last bytes of a box, after its end, and between two pieces that are searched."""
    assert (
        num_entries(BytesIO(box(b"ftyp", b"isom") + box(b"free", b"cmvd" + bytes(40)) + box(b"moov")), "")
        == 0
    )
    assert num_entries(BytesIO(FTYP + box(b"free", bytes(4), b"trun", struct.pack(">2I", 0, 7))), "") == 7
    for place in range((1 << 20) - 20, (1 << 20) + 20):
        assert num_entries(BytesIO(FTYP + box(b"udta", bytes(place), table(b"trun", 7), bytes(40))), "") == 7


def test_a_child_ends_with_its_parent() -> None:
    """Otherwise the time grows with the square of the number of tracks."""
    track = struct.pack(">I4sI4s", 16, b"trak", 1 << 30, b"mdia")
    assert num_entries(BytesIO(FTYP + box(b"moov", track * 60_000)), "") == 0


def test_uncompressed_sound_has_many_samples() -> None:
    assert num_entries(BytesIO(FTYP + movie(*SOUND, handler=b"soun")), "film.mov") < MANY // 500


def test_other_formats_have_no_tables() -> None:
    assert num_entries(BytesIO(b"\x1a\x45\xdf\xa3" + SIZES), "film.mkv") == 0


def ivf(width: int, height: int) -> bytes:
    header = struct.pack("<4s2H4s2H4I", b"DKIF", 0, 32, b"VP80", width, height, 25, 1, 1, 0)
    frame = b"\x10\0\0\x9d\x01\x2a" + struct.pack("<2H", width & 0x3FFF, height & 0x3FFF) + bytes(20)
    return header + struct.pack("<IQ", len(frame), 0) + frame


TINY = b"VP8L", b"\x2f\0\0\0\0\x88\x88\x08"
"""The only chunk of a WebP picture of 1x1."""


def animated_webp(side: int, num_frames: int, still: tuple[bytes, bytes] = TINY) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack("<4sI", kind, len(content)) + content + b"\0" * (len(content) % 2)

    size = (side - 1).to_bytes(3, "little")
    frame = chunk(b"ANMF", bytes(12) + (40).to_bytes(3, "little") + b"\0" + chunk(*still))
    body = chunk(b"VP8X", bytes((2, 0, 0, 0)) + size + size) + chunk(b"ANIM", bytes(6)) + frame * num_frames
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s2I5B", 13, b"IHDR", 60000, 60000, 8, 2, 0, 0, 0)
BMP = b"BM" + struct.pack("<3I3I2H6I", 99, 0, 54, 40, 60000, 60000, 1, 24, *[0] * 6)
GIF = b"GIF89a" + struct.pack("<2H", 16000, 16000) + bytes(3) + b",\0\0\0\0\1\0\1\0\0\2\2D\1\0;"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.y4m", b"YUV4MPEG2 W60000 H60000 F25:1\nFRAME\n" + bytes(100)),
        ("a.ivf", ivf(65535, 65535)),
        ("a.gif", GIF),
        ("a.webp", animated_webp(16384, 2)),
        ("b.webp", animated_webp(1 << 24, 2)),
        ("c.webp", animated_webp(4096, 300)),
        ("a.png", PNG),
    ],
)
def test_large_pictures_are_refused(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError, match=name):
        probe(path)


@pytest.mark.parametrize(
    ("kind", "start"),
    [(b"VP8L", b"\x2f" + ((5999 << 14) | 5999).to_bytes(4, "little")), (b"VP8 ", ivf(6000, 6000)[-30:])],
)
def test_a_picture_larger_than_its_frame_is_not_decoded(kind: bytes, start: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    path.write_bytes(animated_webp(1, 3, (kind, start.ljust(40, b"\0"))))
    assert [frame.still for frame in _Animation(path).frames] == [b""] * 3
    assert probe(path).num_frames == 3
    path.write_bytes(animated_webp(1, 3))
    assert all(frame.still for frame in _Animation(path).frames)


@pytest.mark.parametrize(("suffix", "content"), [(".png", PNG), (".bmp", BMP)])
def test_large_numbered_pictures_are_refused(suffix: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / f"1{suffix}").write_bytes(content)
    with pytest.raises(SourceError, match=r"can.*be decoded"):
        probe(tmp_path)


def test_numbers_of_pictures_may_be_far_apart(tmp_path: Path) -> None:
    pictures = NumberedPictures(tmp_path, ("1.png", f"{10**30}.png"), (1, 10**30))
    assert str(10**30 - 2) in pictures.warnings[0]


def test_tags_are_read_in_one_pass() -> None:
    """Each of these takes minutes if the time grows with the square of the length."""
    assert not list(_read_vtt(b"<" + b"a" * 300_000))[1:]
    assert len(list(_read_srt(b"<b>" * 20_000 + b"</i>" * 20_000))) == 40_001
    assert len(list(_read_mp4(b"\0\1a" + struct.pack(">I4sH", 10, b"styl", 0) * 20_000, b""))) == 1


def test_a_number_of_thousands_of_digits_stays_text() -> None:
    (run,) = _read_vtt(b"&#" + b"1" * 5000 + b";")
    assert run.text.startswith("&#1")
