"""An output's name depends on its own source and on what is recorded, never on other sources."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tests.capabilities import needs_case
from tests.jobs.folder.test_files import OPTIONS, SMALL, batch, work
from tests.video_files import write_video
from vidx4.jobs.folder.files import Batch
from vidx4.jobs.folder.item import FileOptions
from vidx4.jobs.folder.names import Names
from vidx4.jobs.folder.records import FILE, Records
from vidx4.jobs.folder.reports import FileReport, Outcome
from vidx4.jobs.folder.selection import Selection

OVERWRITE = replace(OPTIONS, request=replace(OPTIONS.request, overwrite=True))


def picture(path: Path, color: str = "red") -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (8, 6), color).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a picture in two formats that Pillow writes as one."""
    picture(tmp_path / "in" / "x.png")
    return tmp_path / "in"


def add_twin(folder: Path) -> Path:
    """Add a picture whose output is a PNG, too."""
    path = picture(folder / "x.ppm", "blue")
    return path.rename(folder / "x.psb")  # a suffix that Pillow can't write


def outputs(folder: Path) -> set[str]:
    return {path.name for path in (folder.parent / "out").iterdir()} - {FILE}


def outcomes(reports: dict[str, FileReport]) -> dict[str, str]:
    return {name: report.outcome.value for name, report in reports.items()}


def full_names(folder: Path, options: FileOptions = OPTIONS) -> Batch:
    return Batch(Selection(folder, folder.parent / "out", has_full_names=True), lambda _: options)


def test_a_file_that_is_added_changes_no_other_name(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_video(folder / "a.mp4", num_frames=2, **SMALL)  # type: ignore[arg-type]
    assert outcomes(work(batch(folder))) == {"a.mp4": "done"}
    write_video(folder / "a.mkv", num_frames=2, **SMALL)  # type: ignore[arg-type]
    picture(folder / "a.png")
    assert outcomes(work(batch(folder))) == {"a.mkv": "done", "a.mp4": "skipped", "a.png": "done"}
    assert outputs(folder) == {"a_x4.mp4", "a_x4.mkv", "a_x4.png"}


def test_files_with_one_output_fail_before_the_work(folder: Path) -> None:
    add_twin(folder)
    picture(folder / "other.png")
    for options in (OPTIONS, OVERWRITE):
        reports = work(batch(folder, options))
        assert outcomes(reports)["x.png"] == outcomes(reports)["x.psb"] == "failed"
        assert all(
            each in reports["x.png"].message for each in ("x.png", "x.psb", "x_x4.png", "--full-names")
        )
        assert outputs(folder) == {"other_x4.png"}
    reports = work(full_names(folder))
    assert outcomes(reports) == {"x.png": "done", "x.psb": "done", "other.png": "skipped"}
    assert outputs(folder) == {"other_x4.png", "x.png_x4.png", "x.psb_x4.png"}


def test_the_file_that_an_output_was_made_of_keeps_it(folder: Path) -> None:
    work(batch(folder))
    before = (folder.parent / "out" / "x_x4.png").read_bytes()
    add_twin(folder)
    assert outcomes(work(batch(folder))) == {"x.png": "skipped", "x.psb": "failed"}
    assert outcomes(work(batch(folder, OVERWRITE))) == {"x.png": "done", "x.psb": "failed"}
    only = Batch(Selection(folder, folder.parent / "out", include=("x.psb",)), lambda _: OVERWRITE)
    assert outcomes(work(only)) == {"x.psb": "failed"}
    assert (folder.parent / "out" / "x_x4.png").read_bytes() == before
    assert outcomes(work(full_names(folder))) == {"x.png": "skipped", "x.psb": "done"}
    assert outputs(folder) == {"x_x4.png", "x.psb_x4.png"}


def test_an_output_whose_source_was_renamed_is_skipped(folder: Path) -> None:
    work(batch(folder))
    (folder / "x.png").rename(folder / "x.psb")
    assert outcomes(work(batch(folder))) == {"x.psb": "skipped"}


@needs_case
def test_names_that_a_file_system_takes_for_one_are_a_clash(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(folder / "X.png")
    assert outcomes(work(batch(folder))) == {"X.png": "done", "x.png": "done"}
    shutil.rmtree(folder.parent / "out")
    monkeypatch.setattr(Names, "_ignores_case", True)
    assert outcomes(work(batch(folder))) == {"X.png": "failed", "x.png": "failed"}


def test_hostile_records_lead_no_output_elsewhere(folder: Path) -> None:
    work(batch(folder))
    records = folder.parent / "out" / FILE
    content = records.read_text()
    for name in ("../in/x.png", "/etc/passwd", "sub/x_x4.png", "y_x4.png", "..", ""):
        records.write_text(content.replace('"x_x4.png"', f'"{name}"'))
        (report,) = work(batch(folder)).values()
        assert report.output == folder.parent / "out" / "x_x4.png"


def test_a_done_file_is_recognised_without_opening_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work(batch(folder))
    monkeypatch.setattr(Batch, "look", None)
    assert outcomes(work(batch(folder))) == {"x.png": "skipped"}


@pytest.mark.parametrize("changed", ["x.png", "../out/x_x4.png"])
def test_a_changed_file_is_not_taken_for_done(changed: str, folder: Path) -> None:
    work(batch(folder))
    picture(folder / changed, "blue")
    os.utime(folder / changed, (1e9, 1e9))
    assert outcomes(work(batch(folder))) == {"x.png": "failed"}


def test_what_was_found_to_be_done_is_recognised_from_then_on(folder: Path) -> None:
    work(batch(folder))
    os.utime(folder / "x.png", (1e9, 1e9))
    assert batch(folder).skip(folder / "x.png") is None
    assert outcomes(work(batch(folder))) == {"x.png": "skipped"}
    report = batch(folder).skip(folder / "x.png")
    assert report is not None
    assert report.outcome == Outcome.SKIPPED


@pytest.mark.parametrize(("folder", "is_one"), [("films/2024", True), ("films/2024", False), ("films", True)])
def test_names_that_differ_in_case_clash_where_they_are_one(
    folder: str, is_one: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder's own name may have no letters to try it with."""
    output = tmp_path / folder
    output.mkdir(parents=True)
    monkeypatch.setattr(Path, "samefile", lambda *_: is_one)
    names = Names(Selection(tmp_path / "in", output), Records(output))
    assert names._ignores_case is is_one
