"""Still pictures of every mode: what a model can't enlarge is kept."""

import numpy as np
import pytest
from PIL import Image

from vidx4.diffusion.picture import Picture
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import SourceError


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return Upscaler.load("compact", device="cpu")


def gradient(mode: str, width: int = 24, height: int = 16) -> Image.Image:
    values = np.linspace(0, 255, width * height * 4).reshape(height, width, 4).astype(np.uint8)
    return Image.fromarray(values, "RGBA").convert(mode)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("RGB", "RGB"), ("RGBA", "RGBA"), ("L", "L"), ("LA", "LA"), ("P", "RGB"), ("1", "L"), ("CMYK", "RGB")],
)
def test_modes(upscaler: Upscaler, mode: str, expected: str) -> None:
    picture = gradient("RGB").convert(mode) if mode in ("P", "CMYK") else gradient(mode)
    result = upscaler.picture(picture)
    assert result.mode == expected
    assert result.size == (96, 64)


def test_transparency_is_kept(upscaler: Upscaler) -> None:
    picture = gradient("RGBA")
    picture.putalpha(Image.new("L", picture.size, 77))
    assert upscaler.picture(picture).getchannel("A").getextrema() == (77, 77)


def test_a_transparent_palette_becomes_an_alpha_channel(upscaler: Upscaler) -> None:
    picture = Image.new("P", (8, 8), 1)
    picture.info["transparency"] = 1
    result = upscaler.picture(picture)
    assert result.getchannel("A").getextrema() == (0, 0)


def test_sixteen_bits_stay_sixteen_bits(upscaler: Upscaler) -> None:
    values = np.linspace(0, 65535, 16 * 24).reshape(16, 24).astype(np.uint16)
    result = np.asarray(upscaler.picture(Image.fromarray(values)))
    assert result.dtype == np.uint16
    assert len(np.unique(result)) > 1000
    assert abs(result.mean() - values.mean()) < 0.01 * 65535


def test_the_picture_is_turned_upright(upscaler: Upscaler) -> None:
    picture = gradient("RGB", 24, 16)
    picture.getexif()[0x0112] = 6  # shown after a quarter turn
    assert upscaler.picture(picture).size == (64, 96)


def test_the_colour_profile_is_kept(upscaler: Upscaler) -> None:
    picture = gradient("RGB")
    picture.info["icc_profile"] = b"profile"
    assert upscaler.picture(picture).info["icc_profile"] == b"profile"


def test_the_profile_of_another_colour_space_is_not_kept(upscaler: Upscaler) -> None:
    picture = gradient("RGB").convert("CMYK")
    picture.info["icc_profile"] = b"profile"
    assert "icc_profile" not in upscaler.picture(picture).info


def test_sixteen_bits_with_transparency_become_eight(upscaler: Upscaler) -> None:
    picture = Image.fromarray(np.full((8, 8), 30000, np.uint16))
    picture.info["transparency"] = 30000
    result = upscaler.picture(picture)
    assert result.mode == "LA"
    assert abs(np.asarray(result.getchannel("L")).mean() - 30000 / 257) < 1


def test_floating_point_is_refused(upscaler: Upscaler) -> None:
    with pytest.raises(SourceError, match="floating-point"):
        upscaler.picture(Image.new("F", (8, 8)))


def test_pixels_are_taken_as_they_are() -> None:
    picture = gradient("RGB")
    pixels = Picture.open(picture).pixels
    assert np.array_equal(pixels.permute(1, 2, 0).numpy(), np.asarray(picture))
