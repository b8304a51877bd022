"""Folders that go while a batch works, as when a share drops, and files that are gone."""

from pathlib import Path
from typing import Any

import pytest

from tests.jobs.folder.test_files import Recorder, batch
from tests.jobs.folder.test_names import outcomes, picture
from vidx4.jobs.folder import shares
from vidx4.jobs.folder.files import Batch
from vidx4.jobs.folder.item import Item
from vidx4.jobs.folder.passes import Pass
from vidx4.jobs.folder.places import Places
from vidx4.jobs.folder.reports import FileReport, Outcome
from vidx4.jobs.folder.settling import Settling
from vidx4.jobs.stop import Stop


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shares, "POLL_SECONDS", 0.01)
    for name in "abc":
        picture(tmp_path / "in" / f"{name}.png")
    return tmp_path / "in"


def work(todo: Batch, recorder: Recorder, stop: Stop) -> dict[str, FileReport]:
    reports = Pass(todo, recorder, stop, Settling(0)).run(todo.selection.find())
    return {report.path.name: report for report in reports}


def recorder_that(does: Any, *, after: str) -> Recorder:
    """Return a recorder that does something once a file is begun."""
    recorder = Recorder()
    begun = recorder.begun

    def watched(item: Item, number: int, num_files: int) -> None:
        if item.path.name == after and item.path not in recorder.begun_paths:
            does()
        begun(item, number, num_files)

    recorder.begun = watched  # type: ignore[method-assign]
    return recorder


@pytest.mark.parametrize("name", ["in", "out"])
@pytest.mark.parametrize("leaves_a_mount_point", [False, True])
def test_a_share_that_drops_and_comes_back_is_waited_for(
    name: str, leaves_a_mount_point: bool, folder: Path
) -> None:
    share, away = folder.parent / name, folder.parent / "away"

    def drop() -> None:
        share.rename(away)
        if leaves_a_mount_point:
            share.mkdir()

    def come_back(message: str) -> None:
        if away.exists():
            assert str(share) in message
            if share.exists():
                share.rmdir()  # nothing was written to it meanwhile
            away.rename(share)

    recorder = recorder_that(drop, after="b.png")
    recorder.on_wait = come_back
    reports = work(batch(folder), recorder, Stop())
    assert outcomes(reports) == {"a.png": "done", "b.png": "done", "c.png": "done"}
    assert len(recorder.waits) == 2  # that it is gone, and that it is back
    assert sorted(path.name for path in (folder.parent / "out").glob("*.png")) == [
        *("a_x4.png", "b_x4.png", "c_x4.png")
    ]


@pytest.mark.parametrize("is_stopped", [False, True])
def test_the_wait_for_a_share_is_bounded_and_can_be_stopped(
    is_stopped: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "SHARE_SECONDS", 1e9 if is_stopped else 0.0)
    stop = Stop()
    recorder = recorder_that(lambda: folder.rename(folder.parent / "away"), after="b.png")
    recorder.on_wait = lambda _: stop.set() if is_stopped else None
    reports = work(batch(folder), recorder, stop)
    assert outcomes(reports) == {"a.png": "done", "b.png": "left", "c.png": "left"}
    assert is_stopped or str(folder) in reports["c.png"].message
    assert len(recorder.waits) == 1


def test_a_file_that_was_deleted_before_its_turn_is_gone(folder: Path) -> None:
    recorder = recorder_that((folder / "b.png").unlink, after="a.png")
    reports = work(batch(folder), recorder, Stop())
    assert outcomes(reports) == {"a.png": "done", "b.png": "gone", "c.png": "done"}
    assert not recorder.waits


def test_files_of_a_folder_that_was_deleted_are_gone(folder: Path) -> None:
    sub = folder / "sub"
    picture(sub / "d.png")

    def delete() -> None:
        (sub / "d.png").unlink()
        sub.rmdir()

    reports = work(batch(folder), recorder_that(delete, after="a.png"), Stop())
    assert reports["d.png"].outcome == Outcome.GONE


def test_a_share_below_the_folder_may_drop_alone(folder: Path) -> None:
    sub = folder / "sub"
    path = picture(sub / "d.png")
    places = Places(folder, folder.parent, folder)
    places.remember([folder / "a.png", path])
    assert places.missing(path) is None
    sub.rename(folder / "away")
    sub.mkdir()  # the place where it was mounted
    assert places.missing(path) == sub
    assert places.missing(folder / "a.png") is None
    (folder / "away" / "d.png").rename(path)  # another folder that holds the same
    assert places.missing(path) is None


def test_an_output_share_that_drops_between_passes_is_noticed(folder: Path) -> None:
    todo, out = batch(folder), folder.parent / "out"
    Pass(todo, Recorder(), Stop(), Settling(0)).run_ready([folder / "a.png"])
    out.rename(folder.parent / "away")
    out.mkdir()
    stop, recorder = Stop(), Recorder()
    recorder.on_wait = lambda _: stop.set()
    Pass(todo, recorder, stop, Settling(0)).run_ready([folder / "b.png"])
    assert str(out) in recorder.waits[0]
    assert not list(out.iterdir())
