"""Files that look like pictures, and would run a program, block, or fill the memory."""

import io
import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from PIL import Image

from tests.capabilities import needs_links, needs_permissions, needs_pipes, needs_proc, needs_shell
from vidx4.errors import SourceError
from vidx4.jobs.still import formats, metered
from vidx4.jobs.still import read as read_module
from vidx4.jobs.still.formats import picture_format
from vidx4.jobs.still.read import is_picture, read_enlarged, read_picture, stored_size

# pytest replaces the filters of warnings, among them the one that `read.py` sets when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_with(*chunks: bytes, side: int = 8) -> bytes:
    """Return a gray PNG file with further chunks before its pixels."""
    header = chunk(b"IHDR", struct.pack(">2I5B", side, side, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(side * (side + 1))))
    return b"".join((b"\x89PNG\r\n\x1a\n", header, *chunks, pixels, chunk(b"IEND", b"")))


@needs_permissions
@needs_shell
@pytest.mark.parametrize("name", ["photo.png", "photo.eps", "photo.jpg", "photo"])
def test_no_program_is_run_for_postscript(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "gs"
    program.write_text(f'#!/bin/sh\ntouch "{tmp_path}/ran"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    path = tmp_path / name
    path.write_bytes(POSTSCRIPT)
    assert not is_picture(path)
    with pytest.raises(SourceError, match=name):
        read_picture(path)
    assert not (tmp_path / "ran").exists()


def test_nothing_is_read_or_written_that_needs_others() -> None:
    odd = {"BUFR", "EPS", "FITS", "FPX", "GRIB", "HDF5", "IPTC", "MIC", "PALM", "PDF", "SPIDER", "WMF"}
    assert not odd & {*formats._READ, *formats._READ_BY_NAME.values(), *formats._WRITTEN}
    assert not any(picture_format(Path(f"a{suffix}")) for suffix in (".eps", ".pdf", ".wmf", ".h5", ".palm"))


def test_what_has_no_signature_is_known_by_its_name(tmp_path: Path) -> None:
    picture = tmp_path / "a.tga"
    Image.new("RGB", (12, 8), "red").save(picture)
    assert is_picture(picture)
    assert not is_picture(picture.rename(tmp_path / "a.mpg"))


@needs_links
@needs_pipes
@needs_proc
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_and_devices_are_no_pictures(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("/dev/zero")
    for path in (tmp_path / "a.png", tmp_path / "b.png"):
        assert not is_picture(path)
        for read in (stored_size, read_picture):
            with pytest.raises(SourceError, match="regular file"):
                read(path)


def sparse_chunk(path: Path) -> None:
    path.write_bytes(png_with()[:33] + struct.pack(">I", 2**31 - 1) + b"tEXt")
    os.truncate(path, 2**31)


def many_tables(path: Path) -> None:
    """Write a TIFF file of tags that all hold the same gigabyte, which takes no room."""
    tags = b"".join(struct.pack("<HHLL", tag, 3, 1 << 29, 0) for tag in range(254, 354))
    path.write_bytes(b"II*\0" + struct.pack("<LH", 8, 100) + tags + bytes(4))
    os.truncate(path, 1 << 31)


def bomb_of_text(path: Path) -> None:
    packed = zlib.compress(bytes(1 << 26), 9)
    path.write_bytes(png_with(*(chunk(b"zTXt", b"%d\0\0" % i + packed) for i in range(20))))


def bomb_of_profile(path: Path) -> None:
    path.write_bytes(png_with(chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 28), 9))))


@pytest.mark.parametrize("write", [sparse_chunk, many_tables, bomb_of_text, bomb_of_profile])
def test_metadata_never_fills_the_memory(write: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / ("a.tif" if write is many_tables else "a.png")
    write(path)
    tracemalloc.start()
    try:
        assert is_picture(path)
        for read in (stored_size, read_picture):
            with pytest.raises(SourceError, match=rf"{path.name} can't be read"):
                read(path)
        assert tracemalloc.get_traced_memory()[1] < 300 << 20
    finally:
        tracemalloc.stop()


def test_a_picture_is_not_read_byte_by_byte_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metered.MeteredFile, "_reads_left", 3000)
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\xff\xd8" + b"\xff\xfe\0\2" * 2000)
    with pytest.raises(SourceError, match="far more than a picture"):
        stored_size(path)


def gif_of(num_frames: int) -> bytes:
    frame = b",\0\0\0\0\1\0\1\0\0\2\2L\1\0"
    return b"GIF89a\x80\x3e\x80\x3e\x80\0\0\0\0\0\xff\xff\xff" + num_frames * frame + b";"


def test_frames_are_not_counted_to_tell_animations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three frames are told from one by reading two, however many there are."""
    monkeypatch.setattr(metered.MeteredFile, "_reads_left", 40)
    for num_frames, expected in ((1, True), (2, False), (60_000, False)):
        path = tmp_path / f"{num_frames}.gif"
        path.write_bytes(gif_of(num_frames))
        assert is_picture(path) is expected


def webp_of(num_frames: int, flags: int) -> bytes:
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes((flags, 0, 0, 0)) + b"\xff" * 6
    frames = (b"ANMF" + struct.pack("<I", 16) + bytes(16)) * num_frames
    return b"RIFF" + struct.pack("<I", 4 + len(canvas + frames)) + b"WEBP" + canvas + frames


def test_the_canvas_of_a_webp_is_not_allocated_to_look_at_it(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    for num_frames, flags, expected in ((5, 2, False), (1, 2, True), (0, 0, True)):
        path.write_bytes(webp_of(num_frames, flags))
        assert is_picture(path) is expected
    with pytest.raises(SourceError, match="too large"):
        read_picture(path)


def test_a_copy_is_at_most_sixteen_times_its_source(tmp_path: Path) -> None:
    path = tmp_path / "copy.png"
    path.write_bytes(png_with(side=48))
    assert read_enlarged(path, (12, 12)).size == (48, 48)
    with pytest.raises(SourceError, match=r"48x48.*2,112"):
        read_enlarged(path, (12, 11))


def test_an_icon_that_hides_a_large_picture_is_refused(tmp_path: Path) -> None:
    hidden = png_with(side=900)
    entry = struct.pack("<4B2H2I", 16, 16, 0, 0, 1, 32, len(hidden), 22)
    path = tmp_path / "a.ico"
    path.write_bytes(struct.pack("<3H", 0, 1, 1) + entry + hidden)
    with pytest.raises(SourceError, match="900x900"):
        read_picture(path, 16 * 16)


def test_deep_pictures_are_limited_too(tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.fromarray(np.zeros((64, 64), np.uint16)).save(content, "TIFF")
    path = tmp_path / "deep.tif"
    path.write_bytes(content.getvalue())
    assert read_picture(path).bit_depth == 16
    with pytest.raises(SourceError, match=r"64x64.*4,095"):
        read_picture(path, 64 * 64 - 1)


def failure(path: Path) -> str:
    """Return what is wrong with a picture; empty if nothing is."""
    try:
        read_picture(path)
    except SourceError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("suffix", [".avif", ".webp", ".jp2", ".qoi", ".gif", ".tga", ".psd", ".dds"])
def test_damage_of_any_format_is_one_sentence(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    content = io.BytesIO()
    if suffix == ".psd":
        content.write(b"8BPS\0\1" + bytes(6) + struct.pack(">H2I2H", 3, 8, 8, 8, 3) + bytes(12))
    else:
        Image.new("RGB", (16, 16), "red").save(content, picture_format(path))
    for stop in (17, 40, len(content.getvalue()) - 3):
        path.write_bytes(content.getvalue()[:stop])
        is_picture(path)
        assert "\n" not in failure(path)


def codestream(side: int, tile: int, num_components: int = 3, coding: bytes = b"\4\4\0\1") -> bytes:
    """Return the header of a JPEG 2000 file without precincts of its own, and one tile without pixels."""
    area = struct.pack(">H8IH", 0, side, side, 0, 0, tile, tile, 0, 0, num_components)
    cod = struct.pack(">2BH2B", len(coding) > 4, 0, 1, 0, 0) + coding
    segments = (b"\x51", area + b"\7\1\1" * num_components), (b"\x52", cod), (b"\x5c", b"\x40\x40")
    header = b"".join(b"\xff" + name + struct.pack(">H", 2 + len(data)) + data for name, data in segments)
    return b"\xff\x4f" + header + b"\xff\x90" + struct.pack(">2HI2B", 10, 0, 14, 0, 1) + b"\xff\x93\xff\xd9"


def boxed(content: bytes, num_components: int) -> bytes:
    """Return a JP2 file."""
    head = struct.pack(">2IH4B", 64, 64, num_components, 7, 7, 0, 0)
    colors = b"\1\0\0" + struct.pack(">I", 16)

    def box(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(data), name) + data

    header = box(b"jp2h", box(b"ihdr", head) + box(b"colr", colors))
    start = box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    return start + header + box(b"free", b"") + box(b"jp2c", content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (codestream(400, 400, coding=b"\4\4\0\1\0"), "parts, which is far more"),
        (codestream(2000, 2000, coding=b"\0\0\0\1"), "parts, which is far more"),
        (codestream(255, 1), "65,025 tiles, which is far more"),
        (boxed(codestream(64, 64, 16384), 3), "16384 channels"),
        (boxed(codestream(400, 400, coding=b"\4\4\0\1\0"), 3), "parts, which is far more"),
    ],
    ids=["precincts", "code blocks", "tiles", "channels", "in a box"],
)
def test_jpeg_2000_in_far_too_many_parts_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / ("a.jp2" if content.startswith(b"\0") else "a.j2k")
    path.write_bytes(content)
    with pytest.raises(SourceError, match=rf"{path.name} can't be read.*{reason}"):
        read_picture(path)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize(
    "settings", [{}, {"tile_size": (64, 64)}, {"precinct_size": (128, 128), "codeblock_size": (16, 16)}]
)
def test_ordinary_jpeg_2000_is_read(mode: str, settings: dict[str, tuple[int, int]], tmp_path: Path) -> None:
    for suffix in (".jp2", ".j2k"):
        path = tmp_path / f"a{suffix}"
        Image.new(mode, (300, 200)).save(path, "JPEG2000", **settings)
        assert read_picture(path).size == (300, 200)


def jpeg_of(num_scans: int) -> bytes:
    """Return a progressive JPEG file of 8x8 pixels whose segments hold markers, too."""
    content = io.BytesIO()
    Image.new("L", (8, 8)).save(content, "JPEG", progressive=True, icc_profile=b"\xff\xda\xff\xd9" * 999)
    jpeg = content.getvalue()
    start = jpeg.rindex(b"\xff\xda")
    return jpeg[:start] + jpeg[start:-2] * num_scans + b"\xff\xd9"


def test_jpeg_in_thousands_of_scans_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg_of(20))
    assert read_picture(path).size == (8, 8)
    path.write_bytes(jpeg_of(1000))
    with pytest.raises(SourceError, match=r"a\.jpg can't be read.*more than 200 scans"):
        read_picture(path)


def test_whoever_waits_for_a_picture_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = Event()
    monkeypatch.setattr(read_module, "check_scans", lambda _: end.wait())
    monkeypatch.setattr(read_module, "PATIENCE", 0.2)
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg_of(1))
    with pytest.raises(SourceError, match=r"Reading .*a\.jpg has made no progress"):
        read_picture(path)
    end.set()


def table(width: int, height: int, bits: int, **more: int) -> bytes:
    """Return a gray TIFF file with further tags, and few bytes as pixels."""
    tags = {256: width, 257: height, 258: bits, 259: 8, 262: 1, 273: 200, 277: 1, 278: height, 279: 48}
    tags |= {int(name[1:]): value for name, value in more.items()}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return (b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)).ljust(400, b"\7")


@pytest.mark.parametrize(
    "tags",
    [{"_322": 1 << 15, "_323": 1 << 15, "_324": 200, "_325": 48}, {"_279": 1 << 30}],
    ids=["tile", "strip"],
)
@pytest.mark.parametrize("bits", [8, 16])
def test_tiles_and_strips_are_not_far_larger_than_the_picture(
    bits: int, tags: dict[str, int], tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(table(8, 6, bits, **tags))
    with pytest.raises(SourceError, match="tiles or strips are far larger"):
        read_picture(path)


def test_rubbish_is_not_read_as_a_deep_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(table(900, 900, 16, _259=5))
    with pytest.raises(SourceError, match="it is damaged"):
        read_picture(path)


def test_odd_tags_are_no_damage_of_a_deep_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(table(4, 6, 16, _259=1, _700=10**9, _34665=300, _40000=7))
    assert read_picture(path).bit_depth == 16


def test_a_deep_picture_takes_no_more_memory_than_its_own_size_needs(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    content = io.BytesIO()
    Image.fromarray(np.zeros((6, 8), np.uint16)).save(content, "PNG")
    path.write_bytes(content.getvalue())
    os.truncate(path, 3 << 30)
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match=r"a\.png can't be read"):
            read_picture(path)
        assert tracemalloc.get_traced_memory()[1] < 700 << 20
    finally:
        tracemalloc.stop()


def rle_bmp(width: int, height: int) -> bytes:
    """Return a BMP file of runs, of which each is a row."""
    rows = (bytes((width, 7)) + b"\0\0") * height + b"\0\1"
    info = struct.pack("<I2i2H6I", 40, width, height, 1, 8, 1, len(rows), 0, 0, 256, 0)
    return b"BM" + struct.pack("<3I", 1078 + len(rows), 0, 1078) + info + bytes(1024) + rows


def test_a_compressed_bmp_is_not_larger_than_its_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a.bmp"
    path.write_bytes(rle_bmp(200, 100))
    assert read_picture(path).size == (200, 100)
    os.truncate(path, 1 << 30)
    with pytest.raises(SourceError, match="far more than a picture"):
        read_picture(path)


@pytest.mark.parametrize("num_channels", [3, 4])
def test_dds_is_read_as_it_was_written(num_channels: int, tmp_path: Path) -> None:
    path = tmp_path / "a.dds"
    pixels = np.random.default_rng(0).integers(0, 256, (7, 9, num_channels), np.uint8)
    Image.fromarray(pixels).save(path)
    assert np.array_equal(read_picture(path).channels, pixels)


@pytest.mark.parametrize("suffix", [".bmp", ".dds", ".qoi", ".tif"])
def test_an_incomplete_picture_is_never_filled_up(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".bmp":
        path.write_bytes(rle_bmp(200, 100))
    elif suffix == ".tif":
        path.write_bytes(table(4, 6, 16, _259=1))
    else:
        Image.effect_noise((40, 30), 90).convert("RGB").save(path)
    assert failure(path) == ""
    os.truncate(path, path.stat().st_size * 2 // 3 if suffix != ".tif" else 230)
    assert "can't be" in failure(path)
