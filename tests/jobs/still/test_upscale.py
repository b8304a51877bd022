"""Still pictures from file to file."""

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import OptionError, OutputError, SourceError
from vidx4.frames import FrameBatch
from vidx4.jobs.local import LocalBackend
from vidx4.jobs.request import Request
from vidx4.jobs.still import read, write
from vidx4.jobs.still.read import is_picture
from vidx4.jobs.still.upscale import plan_picture, upscale_picture
from vidx4.jobs.verify import verify
from vidx4.media.options import EncodeOptions
from vidx4.media.pictures.png16 import encode_png, profile_chunk, read_deep
from vidx4.temporal.follow import FollowedBatch
from vidx4.temporal.state import ShotState, Upscaled

# pytest replaces the filters of warnings, among them the one that `read.py` sets when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")
SAMPLES = Path(__file__).parents[3] / "samples"


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return Upscaler.load("compact", device="cpu")


class Nearest(Upscaler):
    """Repeats pixels, so that the output shows what the model was given."""

    def launch(self, batch: FollowedBatch, state: ShotState | None) -> Upscaled:
        frames = torch.stack([frame.low_res for frame in batch.frames])
        data = frames.repeat_interleave(4, 2).repeat_interleave(4, 3)
        return Upscaled(FrameBatch(data, batch.pts), state, 0)


@pytest.fixture(scope="module")
def nearest() -> Nearest:
    return Nearest.load("compact", device="cpu")


def repeated(pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels.repeat(4, axis=0).repeat(4, axis=1)


def deep_pixels(num_channels: int) -> NDArray[np.uint16]:
    return np.random.default_rng(num_channels).integers(0, 65536, (11, 18, num_channels)).astype(np.uint16)


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Make] = orientation, "Kodak"
    exif[ExifTags.IFD.Exif] = {
        ExifTags.Base.DateTimeOriginal: "1999:01:02 03:04:05",
        ExifTags.Base.ExifImageWidth: 18,
    }
    exif[ExifTags.IFD.GPSInfo] = {ExifTags.GPS.GPSLatitude: (50.0, 30.0, 1.5)}
    return exif


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def check_metadata(path: Path) -> None:
    """Check that a file holds the tags of `exif_of` that are still true, and the profile."""
    with Image.open(path) as picture:
        exif = picture.getexif()
        assert exif[ExifTags.Base.Make] == "Kodak"
        assert ExifTags.Base.Orientation not in exif
        taken = exif.get_ifd(ExifTags.IFD.Exif)
        assert taken[ExifTags.Base.DateTimeOriginal] == "1999:01:02 03:04:05"
        assert ExifTags.Base.ExifImageWidth not in taken
        assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] == (50.0, 30.0, 1.5)
        assert picture.info["icc_profile"] == PROFILE


def save(path: Path, mode: str = "RGB", count: int = 1, **options: Any) -> Path:
    colors = np.random.default_rng(0).integers(0, 255, (count, 8, 12, 3)).astype(np.uint8)
    first, *others = [Image.fromarray(color).convert(mode) for color in colors]
    if others:
        options |= {"save_all": True, "append_images": others}
    first.save(path, **options)
    return path


def test_pictures_are_recognised_by_content(tmp_path: Path) -> None:
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
    upscale_picture(path, output, LocalBackend(upscaler))
    assert output == tmp_path / f"a_x4{suffix}"
    with Image.open(output) as picture:
        assert picture.size == (48, 32)


def test_transparency_becomes_white_if_the_format_has_none(upscaler: Upscaler, tmp_path: Path) -> None:
    path = tmp_path / "clear.png"
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(path)
    upscale_picture(path, tmp_path / "out.jpg", LocalBackend(upscaler))
    with Image.open(tmp_path / "out.jpg") as picture:
        assert picture.getpixel((16, 16)) == (255, 255, 255)


def test_sixteen_bits_are_scaled_if_the_format_has_eight(upscaler: Upscaler, tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((8, 8), 25700, np.uint16)).save(path)
    upscale_picture(path, tmp_path / "out.jpg", LocalBackend(upscaler))
    with Image.open(tmp_path / "out.jpg") as picture:
        assert abs(np.asarray(picture).mean() - 100) < 2


def test_a_format_that_can_not_hold_the_picture_is_a_clear_error(upscaler: Upscaler, tmp_path: Path) -> None:
    path = save(tmp_path / "clear.png", mode="RGBA")
    with pytest.raises(OutputError, match="PCX"):
        upscale_picture(path, tmp_path / "out.pcx", LocalBackend(upscaler))
    assert not (tmp_path / "out.pcx").exists()
    with pytest.raises(OutputError, match=r"\.pdf"):
        plan_picture(path, tmp_path / "out.pdf")


def test_a_damaged_picture_is_refused(upscaler: Upscaler, tmp_path: Path) -> None:
    path = save(tmp_path / "a.png")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(SourceError, match=r"a\.png"):
        upscale_picture(path, tmp_path / "out.png", LocalBackend(upscaler))


@pytest.mark.parametrize("num_channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_kept(num_channels: int, suffix: str, nearest: Nearest, tmp_path: Path) -> None:
    pixels = deep_pixels(num_channels)
    (tmp_path / "deep.png").write_bytes(encode_png(pixels))
    first, second = tmp_path / f"first{suffix}", tmp_path / "second.png"
    upscale_picture(tmp_path / "deep.png", first, LocalBackend(nearest))
    assert is_picture(first)
    upscale_picture(first, second, LocalBackend(nearest))  # reads what was written
    num_colors = 1 if num_channels < 3 else 3
    assert np.array_equal(read_deep(first)[..., :num_colors], repeated(pixels[..., :num_colors]))
    assert np.array_equal(read_deep(second)[..., :num_colors], repeated(repeated(pixels[..., :num_colors])))
    assert read_deep(second).shape[2] == num_channels


def test_deep_transparency_is_kept(nearest: Nearest, tmp_path: Path) -> None:
    pixels = deep_pixels(4)
    pixels[..., 3] = 12345
    (tmp_path / "deep.png").write_bytes(encode_png(pixels))
    upscale_picture(tmp_path / "deep.png", tmp_path / "out.tif", LocalBackend(nearest))
    assert set(read_deep(tmp_path / "out.tif")[..., 3].flat) == {12345}


def test_sixteen_bits_go_through_the_model_as_eight_do(upscaler: Upscaler, tmp_path: Path) -> None:
    plain = np.random.default_rng(0).integers(0, 256, (16, 24, 3)).astype(np.uint8)
    Image.fromarray(plain).save(tmp_path / "plain.png")
    (tmp_path / "deep.png").write_bytes(encode_png(plain.astype(np.uint16) * 257))
    upscale_picture(tmp_path / "plain.png", tmp_path / "plain_out.png", LocalBackend(upscaler))
    upscale_picture(tmp_path / "deep.png", tmp_path / "deep_out.png", LocalBackend(upscaler))
    with Image.open(tmp_path / "plain_out.png") as picture:
        differences = read_deep(tmp_path / "deep_out.png") / 257 - np.asarray(picture)
    assert abs(differences).max() < 1


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_rounding_to_eight_bits_is_reported(
    suffix: str, nearest: Nearest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = np.full((8, 8, 3), 25700, np.uint16)
    (tmp_path / "deep.png").write_bytes(encode_png(pixels))
    with caplog.at_level(logging.WARNING):
        upscale_picture(tmp_path / "deep.png", tmp_path / f"out{suffix}", LocalBackend(nearest))
    assert re.search(r"\b8\b.*\b16\b", caplog.text)
    with Image.open(tmp_path / f"out{suffix}") as picture:
        assert abs(np.asarray(picture).mean() - 100) < 1


@pytest.mark.parametrize("source", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_metadata_is_kept(source: str, suffix: str, nearest: Nearest, tmp_path: Path) -> None:
    path = save(tmp_path / f"a{source}", exif=exif_of(6).tobytes(), icc_profile=PROFILE)
    upscale_picture(path, tmp_path / f"out{suffix}", LocalBackend(nearest))
    check_metadata(tmp_path / f"out{suffix}")
    with Image.open(tmp_path / f"out{suffix}") as picture:
        assert picture.size == (32, 48)
    assert lost(path, tmp_path / f"out{suffix}") == []


def lost(path: Path, upscaled: Path) -> list[str]:
    return [check.subject for check in verify(path, upscaled) if not check.is_kept]


def test_losses_are_found(nearest: Nearest, tmp_path: Path) -> None:
    transparent = np.dstack([deep_pixels(3), np.full((11, 18, 1), 30000, np.uint16)])
    exif = exif_of(1).tobytes().removeprefix(b"Exif\0\0")
    source = tmp_path / "deep.png"
    source.write_bytes(encode_png(transparent, [profile_chunk(PROFILE), (b"eXIf", exif)]))
    upscale_picture(source, tmp_path / "out.png", LocalBackend(nearest))
    assert lost(source, tmp_path / "out.png") == []
    with pytest.raises(OptionError, match="picture"):
        verify(source, tmp_path / "out.png", request=Request(encode=EncodeOptions(width=100)))
    save(tmp_path / "other.png")
    assert lost(source, tmp_path / "other.png") == [
        *("size", "bits per colour", "transparency", "colour profile", "EXIF data"),
    ]


def test_a_loss_is_reported(
    nearest: Nearest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = save(tmp_path / "a.jpg", dpi=(300, 300))
    upscale_picture(source, tmp_path / "out.png", LocalBackend(nearest))
    assert not caplog.records
    monkeypatch.setattr(write, "_save_options", lambda *_: {})
    upscale_picture(source, tmp_path / "lost.png", LocalBackend(nearest))
    assert re.search(r"pixels per inch\b.*\b0 x 0\b.*\b300 x 300\b", caplog.text)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_metadata_of_sixteen_bits_is_kept(suffix: str, nearest: Nearest, tmp_path: Path) -> None:
    pixels = deep_pixels(3)
    exif = exif_of(6).tobytes().removeprefix(b"Exif\0\0")
    source = encode_png(pixels, [profile_chunk(PROFILE), (b"eXIf", exif)])
    (tmp_path / "deep.png").write_bytes(source)
    upscale_picture(tmp_path / "deep.png", tmp_path / f"first{suffix}", LocalBackend(nearest))
    upscale_picture(tmp_path / f"first{suffix}", tmp_path / "second.png", LocalBackend(nearest))
    for name in (f"first{suffix}", "second.png"):
        check_metadata(tmp_path / name)
    assert np.array_equal(read_deep(tmp_path / f"first{suffix}"), repeated(np.rot90(pixels, -1)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["L", "RGB", "I;16", "deep"])
def test_every_orientation_is_turned_upright(
    mode: str, orientation: int, nearest: Nearest, tmp_path: Path
) -> None:
    deep, exif = deep_pixels(3), exif_of(orientation)
    plain = {"L": deep[..., 0] >> 8, "RGB": deep >> 8}.get(mode, deep[..., 0])
    if mode == "deep":
        chunk = b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")
        (tmp_path / "a.png").write_bytes(encode_png(deep, [chunk]))
    else:
        picture = Image.fromarray(plain if mode == "I;16" else plain.astype(np.uint8))
        picture.save(tmp_path / "a.tif", exif=exif.tobytes())
    upscale_picture(
        tmp_path / ("a.png" if mode == "deep" else "a.tif"), tmp_path / "out.png", LocalBackend(nearest)
    )
    flipped = {2: (0, True), 3: (2, False), 4: (2, True), 5: (-1, True), 6: (-1, False), 7: (1, True)}
    turns, is_mirrored = flipped.get(orientation, (1 if orientation == 8 else 0, False))
    expected = np.rot90(deep if mode == "deep" else plain, turns)
    expected = expected[:, ::-1] if is_mirrored else expected
    if mode in ("deep", "I;16"):
        result = read_deep(tmp_path / "out.png").squeeze()
    else:
        with Image.open(tmp_path / "out.png") as opened:
            result = np.asarray(opened)
    assert np.array_equal(result, repeated(expected))


def test_the_colour_chunks_of_png_are_kept(nearest: Nearest, tmp_path: Path) -> None:
    chunks = [(b"cICP", bytes((9, 16, 0, 1))), (b"gAMA", (45455).to_bytes(4, "big"))]
    (tmp_path / "deep.png").write_bytes(encode_png(deep_pixels(3), chunks))
    upscale_picture(tmp_path / "deep.png", tmp_path / "out.png", LocalBackend(nearest))
    content = (tmp_path / "out.png").read_bytes()
    assert all(name + value in content for name, value in chunks)


def test_damaged_exif_is_dropped(nearest: Nearest, tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0" + b"\x08\0\0\0" + b"\xff" * 40)
    upscale_picture(path, tmp_path / "out.png", LocalBackend(nearest))
    assert is_picture(tmp_path / "out.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("size", [30, 300])
def test_a_cut_off_picture_is_reported_as_damaged(
    suffix: str, size: int, nearest: Nearest, tmp_path: Path
) -> None:
    path = save(tmp_path / f"a{suffix}", icc_profile=PROFILE)
    path.write_bytes(path.read_bytes()[:size])
    assert is_picture(path)
    with pytest.raises(SourceError, match=rf"a\{suffix}"):
        upscale_picture(path, tmp_path / "out.png", LocalBackend(nearest))


def test_a_large_picture_may_become_larger_than_any_source(
    nearest: Nearest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """12 megapixels become 192, more than a source may have."""
    path = save(tmp_path / "a.png")
    monkeypatch.setattr(read, "MAX_PIXELS", 120)
    upscale_picture(path, tmp_path / "out.png", LocalBackend(nearest))
    assert lost(path, tmp_path / "out.png") == []
    with pytest.raises(SourceError, match=r"out\.png.*120"):
        upscale_picture(tmp_path / "out.png", tmp_path / "out_x4.png", LocalBackend(nearest))
