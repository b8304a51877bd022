"""What frames hold beside pixels, also where PyAV crashes or has no name for it."""

import gc
from pathlib import Path

import pytest
from PIL import Image, ImageCms

from vidx4.media.decode import read_frames
from vidx4.media.probe import probe
from vidx4.media.source import read_source

QUARTER_TURN = 6
"""The EXIF orientation of a picture that is to be turned clockwise."""


def write_picture(path: Path, orientation: int | None, *, is_animated: bool) -> None:
    """Write a PNG with a named colour profile."""
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    others = {"save_all": True, "append_images": [Image.new("RGB", (32, 16), "red")]} if is_animated else {}
    Image.new("RGB", (32, 16)).save(path, "PNG", exif=exif, icc_profile=profile, **others)


@pytest.mark.parametrize("orientation", [None, QUARTER_TURN])
def test_an_animation_with_a_profile(tmp_path: Path, orientation: int | None) -> None:
    path = tmp_path / "a.png"
    write_picture(path, orientation, is_animated=True)
    source = read_source(path)
    gc.collect()  # what PyAV would free twice
    assert source.lost_metadata == ("ICC profile",)
    assert source.rotation == (270 if orientation else 0)
    assert len(list(read_frames(source))) == 2


def test_numbered_pictures_with_a_profile(tmp_path: Path) -> None:
    for number in range(3):
        write_picture(tmp_path / f"{number}.png", QUARTER_TURN, is_animated=False)
    source = probe(tmp_path)
    gc.collect()
    assert (source.num_frames, source.rotation, source.lost_metadata) == (3, 270, ("ICC profile",))
