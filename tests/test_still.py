"""Still pictures from file to file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import OutputError, SourceError
from vidx4.jobs.picture import is_picture, plan_picture, upscale_picture

SAMPLES = Path(__file__).parent.parent / "samples"


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return Upscaler.load("compact", device="cpu")


def save(path: Path, mode: str = "RGB", count: int = 1, **options: Any) -> Path:
    colors = np.random.default_rng(0).integers(0, 255, (count, 8, 12, 3)).astype(np.uint8)
    first, *others = [Image.fromarray(color).convert(mode) for color in colors]
    if others:
        options |= {"save_all": True, "append_images": others}
    first.save(path, **options)
    return path


def test_what_is_a_picture(tmp_path: Path) -> None:
    pictures = [
        save(tmp_path / "a.png"),
        save(tmp_path / "a.gif"),
        save(tmp_path / "a.jpg"),
        save(tmp_path / "pages.tif", count=2),
        save(tmp_path / "lenses.mpo", count=2),
        save(tmp_path / "a.mp4", format="PNG"),
    ]
    assert [is_picture(path) for path in pictures] == [True] * len(pictures)
    films = [save(tmp_path / "b.gif", count=3), save(tmp_path / "b.png", count=3), SAMPLES / "bear.webm"]
    assert [is_picture(path) for path in films] == [False] * len(films)
    assert not is_picture(tmp_path / "missing.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp", ".gif"])
def test_every_common_format_is_read_and_written(suffix: str, upscaler: Upscaler, tmp_path: Path) -> None:
    path = save(tmp_path / f"a{suffix}")
    output = plan_picture(path)
    upscale_picture(path, output, upscaler)
    assert output == tmp_path / f"a_x4{suffix}"
    with Image.open(output) as picture:
        assert picture.size == (48, 32)


def test_transparency_lies_on_white_where_the_format_has_none(upscaler: Upscaler, tmp_path: Path) -> None:
    path = tmp_path / "clear.png"
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(path)
    upscale_picture(path, tmp_path / "out.jpg", upscaler)
    with Image.open(tmp_path / "out.jpg") as picture:
        assert picture.getpixel((16, 16)) == (255, 255, 255)


def test_sixteen_bits_are_scaled_where_the_format_has_eight(upscaler: Upscaler, tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((8, 8), 25700, np.uint16)).save(path)
    upscale_picture(path, tmp_path / "out.jpg", upscaler)
    with Image.open(tmp_path / "out.jpg") as picture:
        assert abs(np.asarray(picture).mean() - 100) < 2


def test_what_a_format_can_not_hold_is_a_clear_error(upscaler: Upscaler, tmp_path: Path) -> None:
    path = save(tmp_path / "clear.png", mode="RGBA")
    with pytest.raises(OutputError, match="EPS"):
        upscale_picture(path, tmp_path / "out.eps", upscaler)
    assert not (tmp_path / "out.eps").exists()


def test_a_damaged_picture_is_refused(upscaler: Upscaler, tmp_path: Path) -> None:
    path = save(tmp_path / "a.png")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(SourceError, match=r"a\.png"):
        upscale_picture(path, tmp_path / "out.png", upscaler)
