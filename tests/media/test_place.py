"""An output is only written where it does no damage to what exists."""

import os
from pathlib import Path

import pytest

from tests.capabilities import needs_links, needs_permissions, needs_proc, needs_user
from vidx4.errors import OutputError
from vidx4.jobs.report import check_report
from vidx4.media.place import check_folder, check_writable


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        (folder / f"img_{number:04}.png").touch()
    return folder


def test_a_device_is_not_replaced() -> None:
    with pytest.raises(OutputError, match="device or a pipe"):
        check_writable(Path(os.devnull), Path("film.mp4"), overwrite=True)


@needs_links
def test_a_dangling_link_counts_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").symlink_to("nowhere")
    with pytest.raises(OutputError, match="already exists"):
        check_writable(tmp_path / "film.mp4", tmp_path / "source.mp4", overwrite=False)


@pytest.mark.parametrize("source", [".", "img_%04d.png", "../frames"])
def test_the_pictures_of_a_source_are_not_replaced(source: str, pictures: Path) -> None:
    path = pictures / source
    with pytest.raises(OutputError, match="is the source itself"):
        check_writable(pictures / "img_0001.png", path, overwrite=True)
    for pattern in ("img_%04d.png", "%06d.png"):
        with pytest.raises(OutputError, match="holds the source itself"):
            check_folder(pictures, path, pattern, overwrite=True)
    check_writable(pictures / "film.mp4", path, overwrite=True)
    check_folder(pictures.with_name("new"), path)


@needs_links
def test_pictures_are_not_replaced_that_a_source_leads_to_by_links(pictures: Path) -> None:
    below = pictures / "below"
    below.mkdir()
    for picture in pictures.glob("*.png"):
        picture.rename(below / picture.name)
        picture.symlink_to(f"below/{picture.name}")
    for pattern in ("img_%04d.png", "%06d.png"):
        with pytest.raises(OutputError, match="holds the source itself"):
            check_folder(below, pictures, pattern, overwrite=True)
    with pytest.raises(OutputError, match="is the source itself"):
        check_writable(below / "img_0001.png", pictures, overwrite=True)


def test_an_animation_is_not_replaced_by_its_own_pictures(pictures: Path) -> None:
    with pytest.raises(OutputError, match="holds the source itself"):
        check_folder(pictures, pictures / "img_0001.png", "img_%04d.png", overwrite=True)


def test_folders_that_are_called_like_pictures_are_not_replaced(pictures: Path, tmp_path: Path) -> None:
    (pictures / "img_0009.png").mkdir()
    with pytest.raises(OutputError, match="not empty"):
        check_folder(pictures, tmp_path / "film.mp4", "img_%04d.png", overwrite=True)


def test_a_file_as_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file is not a folder"):
        check_writable(tmp_path / "file" / "new" / "film.mp4", tmp_path, overwrite=False)


@needs_permissions
@needs_user
def test_a_folder_that_can_not_be_written_to_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="can't be written to"):
        check_writable(tmp_path / "film.mp4", tmp_path / "source.mp4", overwrite=False)


@needs_proc
@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that not even root may write to")
@pytest.mark.parametrize("name", ["film.mp4", "new/film.mp4"])
def test_a_folder_is_tried_out_before_the_work(name: str) -> None:
    with pytest.raises(OutputError, match="nothing can be written to /proc/self"):
        check_writable(Path("/proc/self", name), Path("film.mp4"), overwrite=False)
    with pytest.raises(OutputError, match="nothing can be written to /proc/self"):
        check_folder(Path("/proc/self", name), Path("film.mp4"))


@pytest.mark.parametrize("length", [256, 5000])
def test_a_name_that_is_too_long_is_refused(length: int, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="too long"):
        check_writable(tmp_path / ("x" * (length - 4) + ".mp4"), Path("film.mp4"), overwrite=False)


@pytest.mark.parametrize(
    "name", ["film_x4.mkv", "other.mp4", "0001.png", ".vidx4-batch.json", "a.vidx4/plan.json"]
)
def test_a_report_takes_the_name_of_nothing_else(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.vidx4").mkdir()
    with pytest.raises(OutputError, match=r"\.json"):
        check_report(tmp_path / name, tmp_path / "film.mp4", tmp_path / "film_x4.mkv")


def test_a_report_replaces_nothing_but_a_report(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("{}")
    with pytest.raises(OutputError, match="is no report"):
        check_report(path, tmp_path / "film.mp4")
    path.write_text('{"num_frames": 5, "seconds": 1.0}')
    check_report(path, tmp_path / "film.mp4")
    with pytest.raises(OutputError, match="--overwrite"):
        check_report(path, tmp_path / "film.mp4", overwrite=False)
    path.write_text('{"is_dry_run": true, "num_frames": 5, "seconds": 1.0}')
    check_report(path, tmp_path / "film.mp4", overwrite=False)


@pytest.mark.parametrize("name", ["film.mp4", "film_x4.mp4", ".", "missing/report.json", os.devnull])
def test_a_report_needs_a_place_of_its_own(name: str, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").touch()
    with pytest.raises(OutputError):
        check_report(tmp_path / name, tmp_path / "film.mp4", tmp_path / "film_x4.mp4")
