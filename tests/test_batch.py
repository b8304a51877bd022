"""A folder: the tree is kept, done files are skipped, a bad file doesn't stop the others."""

import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest
from PIL import Image

from tests.conftest import write_video
from vidx4.diffusion.upscaler import Upscaler
from vidx4.errors import OutputError, SourceError
from vidx4.jobs.batch import Outcome, plan_folder, run_file
from vidx4.media.encoder import EncodeOptions
from vidx4.media.probe import probe

FAST = EncodeOptions(preset="ultrafast", crf=30)


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return Upscaler.load("compact", device="cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "deep er" / "still").mkdir(parents=True)
    write_video(folder / "deep er" / 'it\'s "odd".mp4', num_frames=3)
    write_video(folder / "same.mp4", num_frames=2)
    write_video(folder / "same.mkv", num_frames=2)
    (folder / "broken.mp4").write_bytes(b"nothing")
    (folder / "notes.txt").write_text("not wanted")
    (folder / ".hidden.mp4").write_text("not wanted")
    Image.new("RGB", (8, 6), "red").save(folder / "deep er" / "still" / "photo.png")
    return folder


def test_keeps_the_tree_and_goes_on_after_a_bad_file(
    folder: Path, tmp_path: Path, upscaler: Upscaler
) -> None:
    reports = [run_file(job, upscaler, FAST) for job in plan_folder(folder, tmp_path / "out")]
    outcomes = {report.path.name: report.outcome for report in reports}
    assert outcomes == {
        "broken.mp4": Outcome.FAILED,
        'it\'s "odd".mp4': Outcome.DONE,
        "photo.png": Outcome.DONE,
        "same.mkv": Outcome.DONE,
        "same.mp4": Outcome.DONE,
    }
    written = {
        str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()
    }
    assert written == {
        'deep er/it\'s "odd"_x4.mp4',
        "deep er/still/photo_x4.png",
        "same.mp4_x4.mp4",
        "same.mkv_x4.mkv",
    }
    assert probe(tmp_path / "out" / "same.mp4_x4.mp4").num_frames == 2


def test_what_is_done_is_skipped_unless_it_shall_be_replaced(
    folder: Path, tmp_path: Path, upscaler: Upscaler
) -> None:
    job = next(job for job in plan_folder(folder, tmp_path / "out") if job.path.suffix == ".png")
    assert run_file(job, upscaler).outcome == Outcome.DONE
    assert run_file(job, upscaler).outcome == Outcome.SKIPPED
    assert run_file(job, upscaler, overwrite=True).outcome == Outcome.DONE


def test_a_fault_of_the_program_does_not_stop_the_others(
    folder: Path, tmp_path: Path, upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidx4.jobs.batch.upscale_video", Mock(side_effect=ZeroDivisionError("oops")))
    reports = [run_file(job, upscaler, FAST) for job in plan_folder(folder, tmp_path / "out")]
    outcomes = {report.path.suffix: report.outcome for report in reports}
    assert outcomes == {".mp4": Outcome.FAILED, ".mkv": Outcome.FAILED, ".png": Outcome.DONE}
    assert any("ZeroDivisionError('oops')" in report.message for report in reports)


def test_an_output_folder_inside_the_folder_is_refused(folder: Path) -> None:
    with pytest.raises(OutputError, match="inside"):
        plan_folder(folder, folder / "out")


def test_a_folder_without_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no video"):
        plan_folder(tmp_path, tmp_path.parent / "out")


def test_sources_are_untouched(folder: Path, tmp_path: Path, upscaler: Upscaler) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for job in plan_folder(folder, tmp_path / "out"):
        run_file(job, upscaler, FAST)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    shutil.rmtree(tmp_path / "out")
