"""Still pictures of every mode: what a model can't enlarge is kept."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import SourceError
from vidx4.jobs.local import LocalBackend
from vidx4.jobs.still.channels import channels_of
from vidx4.jobs.still.read import read_picture
from vidx4.jobs.still.upscale import upscale_picture
from vidx4.media.pictures.png16 import read_deep


@pytest.fixture(scope="module")
def backend() -> LocalBackend:
    return LocalBackend(Upscaler.load("compact", device="cpu"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.png"


def upscaled(path: Path, backend: LocalBackend) -> Image.Image:
    output = path.with_name("out.png")
    upscale_picture(path, output, backend)
    with Image.open(output) as picture:
        picture.load()
        return picture


def gradient(mode: str, width: int = 24, height: int = 16) -> Image.Image:
    values = np.linspace(0, 255, width * height * 4).reshape(height, width, 4).astype(np.uint8)
    return Image.fromarray(values, "RGBA").convert(mode)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("RGB", "RGB"), ("RGBA", "RGBA"), ("L", "L"), ("LA", "LA"), ("P", "RGB"), ("1", "L"), ("CMYK", "RGB")],
)
def test_modes(backend: LocalBackend, path: Path, mode: str, expected: str) -> None:
    picture = gradient("RGB").convert(mode) if mode in ("P", "CMYK") else gradient(mode)
    picture.save(path, "TIFF" if mode == "CMYK" else "PNG")
    result = upscaled(path, backend)
    assert result.mode == expected
    assert result.size == (96, 64)


def test_transparency_is_kept(backend: LocalBackend, path: Path) -> None:
    picture = gradient("RGBA")
    picture.putalpha(Image.new("L", picture.size, 77))
    picture.save(path)
    assert upscaled(path, backend).getchannel("A").getextrema() == (77, 77)


def test_alpha_is_enlarged_by_bicubic_interpolation(backend: LocalBackend, path: Path) -> None:
    picture, alpha = gradient("RGB"), Image.radial_gradient("L").resize((24, 16))
    picture.putalpha(alpha)
    picture.save(path)
    expected = alpha.resize((96, 64), Image.Resampling.BICUBIC)
    assert upscaled(path, backend).getchannel("A").tobytes() == expected.tobytes()


def test_a_transparent_palette_becomes_an_alpha_channel(backend: LocalBackend, path: Path) -> None:
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.save(path, transparency=1)
    assert upscaled(path, backend).getchannel("A").getextrema() == (0, 0)


def test_sixteen_bits_stay_sixteen_bits(backend: LocalBackend, path: Path) -> None:
    values = np.linspace(0, 65535, 16 * 24).reshape(16, 24).astype(np.uint16)
    Image.fromarray(values).save(path, "PPM")
    result = np.asarray(upscaled(path, backend))
    assert result.dtype == np.uint16
    assert len(np.unique(result)) > 1000
    assert abs(result.mean() - values.mean()) < 0.01 * 65535


def test_the_picture_is_turned_upright(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn
    gradient("RGB", 24, 16).save(path, exif=exif)
    assert read_picture(path).size == (16, 24)


def test_the_colour_profile_is_kept(path: Path) -> None:
    gradient("RGB").save(path, icc_profile=b"profile")
    assert read_picture(path).metadata.icc_profile == b"profile"


def test_the_profile_of_another_colour_space_is_dropped(path: Path) -> None:
    gradient("RGB").convert("CMYK").save(path, "JPEG", icc_profile=b"profile")
    assert read_picture(path).metadata.icc_profile is None


def test_sixteen_bits_with_a_transparent_colour_get_alpha(backend: LocalBackend, path: Path) -> None:
    Image.fromarray(np.full((8, 8), 30000, np.uint16)).save(path, transparency=30000)
    upscale_picture(path, path.with_name("out.png"), backend)
    result = read_deep(path.with_name("out.png"))
    assert result.shape == (32, 32, 2)
    assert abs(result[..., 0].mean() - 30000) < 257
    assert set(result[..., 1].flat) == {0}


def test_floating_point_is_refused(path: Path) -> None:
    Image.new("F", (8, 8)).save(path, "TIFF")
    with pytest.raises(SourceError, match=r"a\.png.*16 bits"):
        read_picture(path)


def test_pixels_are_taken_as_they_are() -> None:
    picture = gradient("RGB")
    assert np.array_equal(channels_of(picture), np.asarray(picture))
