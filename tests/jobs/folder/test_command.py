"""The command: what is said, reported and returned when not all is well."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.capabilities import needs_proc
from tests.jobs.folder.test_files import FLAGS, vidx4
from tests.jobs.folder.test_names import picture
from vidx4.cli import folder_view
from vidx4.jobs.folder import passes
from vidx4.jobs.folder.records import FILE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    picture(tmp_path / "in" / "a.png")
    return tmp_path / "in"


def run(folder: Path, *flags: object) -> tuple[int, list[dict[str, Any]]]:
    result = vidx4("batch", folder, folder.parent / "out", *FLAGS, "--json", *flags)
    return result.exit_code, [json.loads(line) for line in result.stdout.splitlines()]


def test_what_failed_is_named_with_what_to_do_next(folder: Path) -> None:
    (folder / "bad.mp4").write_text("no film")
    code, events = run(folder)
    done = events[-1]
    assert (code, done["event"], done["done"], done["failed"]) == (1, "done", 1, 1)
    assert "bad.mp4" in done["message"]
    assert "again" in done["message"]


def test_a_folder_that_cannot_be_listed_fails_in_the_report_and_by_the_exit_code(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "locked").mkdir()
    scandir = os.scandir

    def refuse(path: Path) -> Any:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("vidx4.jobs.folder.walk.os.scandir", refuse)
    report = folder.parent / "report.json"
    for flags in ((), ("--dry-run",)):
        code, _ = run(folder, "--report", report, *flags)
        facts = json.loads(report.read_text())
        assert code == 1
        assert facts["num_files"]["failed"] == 1
        assert any(each["path"] == str(folder / "locked") for each in facts["files"])
    assert run(folder, "--exclude", "locked")[0] == 0


@needs_proc
@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_a_report_that_cannot_be_written_is_refused_before_the_work(
    flags: tuple[str, ...], folder: Path
) -> None:
    for report in (folder.parent / "nowhere" / "report.json", Path("/proc/report.json")):
        code, (error,) = run(folder, "--report", report, *flags)
        assert (code, error["event"]) == (1, "error")
        assert str(report.parent) in error["message"]
    assert not (folder.parent / "nowhere").exists()
    assert not (folder.parent / "out").exists()


def test_a_dry_run_writes_a_report(folder: Path) -> None:
    (folder / "notes.txt").write_text("")
    report = folder.parent / "report.json"
    assert run(folder, "--dry-run", "--report", report)[0] == 0
    facts = json.loads(report.read_text())
    assert facts["is_dry_run"]
    assert (facts["num_files"], facts["num_frames"]) == ({"to do": 1}, 1)
    assert (facts["files"][0]["path"], facts["passed_over"]) == (str(folder / "a.png"), ["notes.txt"])
    assert run(folder, "--report", report)[0] == 0
    assert json.loads(report.read_text())["num_files"]["done"] == 1


def test_a_stopped_batch_writes_a_report(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: passes.Pass, *_: object, **__: object) -> object:
        self._stop.set()
        return None

    monkeypatch.setattr(passes.Pass, "_look", stop)
    report = folder.parent / "report.json"
    code, events = run(folder, "--report", report)
    assert code == 130
    assert json.loads(report.read_text())["num_files"]["left"] == 1
    assert "left" in events[-1]["message"]


@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_records_that_cannot_be_written_are_found_before_the_work(
    flags: tuple[str, ...], folder: Path
) -> None:
    (folder.parent / "out" / FILE).mkdir(parents=True)
    code, events = run(folder, *flags)
    assert code == 1
    assert FILE in events[-1]["message"]
    assert not list((folder.parent / "out").glob("*.png"))


def test_a_long_look_shows_how_far_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (8, 6)).save(folder / "b.png")
    monkeypatch.setattr(folder_view, "LOOK_SECONDS", 0)
    _, events = run(folder, "--dry-run")
    assert "looking at 1 of 2 files" in [each["message"] for each in events if each["event"] == "note"]


def test_files_that_are_done_are_counted_not_listed(folder: Path) -> None:
    run(folder)
    arguments = ("batch", folder, folder.parent / "out", *FLAGS)
    assert vidx4(*arguments).stdout == ""
    assert "skipped" in vidx4(*arguments, "--verbose").stdout


def test_full_names(folder: Path) -> None:
    assert run(folder, "--full-names")[0] == 0
    assert (folder.parent / "out" / "a.png_x4.png").exists()
