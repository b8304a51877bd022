"""Pictures of 16 bits per colour are read and written without loss."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vidx4.errors import SourceError
from vidx4.media.pictures.png16 import color_chunks, density_chunk, encode_png, profile_chunk, read_deep


def noise(num_channels: int, width: int = 21) -> NDArray[np.uint16]:
    return np.random.default_rng(0).integers(0, 65536, (9, width, num_channels)).astype(np.uint16)


@pytest.mark.parametrize("num_channels", [1, 2, 3, 4])
@pytest.mark.parametrize("width", [1, 21, 64])
def test_png_keeps_every_bit(num_channels: int, width: int, tmp_path: Path) -> None:
    pixels = noise(num_channels, width)
    (tmp_path / "a.png").write_bytes(encode_png(pixels))
    assert np.array_equal(read_deep(tmp_path / "a.png"), pixels)


def test_another_reader_agrees(tmp_path: Path) -> None:
    pixels = noise(1)
    (tmp_path / "a.png").write_bytes(encode_png(pixels))
    with Image.open(tmp_path / "a.png") as picture:
        assert np.array_equal(np.asarray(picture), pixels[..., 0])


def test_another_reader_finds_the_chunks(tmp_path: Path) -> None:
    chunks = [profile_chunk(b"profile" * 99), density_chunk((300, 150))]
    (tmp_path / "a.png").write_bytes(encode_png(noise(3), chunks))
    with Image.open(tmp_path / "a.png") as picture:
        picture.load()
        assert picture.info["icc_profile"] == b"profile" * 99
        assert picture.info["dpi"] == pytest.approx((300, 150), abs=0.02)


def test_a_transparent_colour_becomes_an_alpha_channel(tmp_path: Path) -> None:
    pixels = noise(3)
    key = pixels[4, 5].astype(">u2").tobytes()
    (tmp_path / "a.png").write_bytes(encode_png(pixels, [(b"tRNS", key)]))
    found = read_deep(tmp_path / "a.png")
    assert np.array_equal(found[..., :3], pixels)
    assert found[4, 5, 3] == 0
    assert found[0, 0, 3] == 65535


def test_color_chunks_are_found_among_others(tmp_path: Path) -> None:
    gamma = b"gAMA", (45455).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(encode_png(noise(3), [(b"tEXt", b"a\0b"), gamma]))
    assert color_chunks(tmp_path / "a.png") == (gamma,)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    assert color_chunks(tmp_path / "a.jpg") == ()


def test_a_name_is_not_taken_for_a_pattern(tmp_path: Path) -> None:
    pixels = noise(3)
    (tmp_path / "a%03d.png").write_bytes(encode_png(pixels))
    assert np.array_equal(read_deep(tmp_path / "a%03d.png"), pixels)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    content = encode_png(noise(3))
    (tmp_path / "a.png").write_bytes(content[:60])
    with pytest.raises(SourceError, match=r"a\.png"):
        read_deep(tmp_path / "a.png")


def test_pixels_are_compressed() -> None:
    assert len(encode_png(np.zeros((99, 99, 3), np.uint16))) < len(zlib.compress(bytes(99 * 99 * 6))) + 500
