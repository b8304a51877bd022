"""Files that are still being written wait until they are whole."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.jobs.folder.test_files import Recorder, batch, one_film, work
from vidx4.errors import SourceChangedError
from vidx4.jobs.folder import files, passes
from vidx4.jobs.folder.item import Item
from vidx4.jobs.folder.reports import FileReport, Outcome
from vidx4.jobs.folder.settling import Settling
from vidx4.jobs.folder.watch import Watch
from vidx4.jobs.part_record import Part
from vidx4.jobs.progress import Control
from vidx4.jobs.run import Run
from vidx4.jobs.stop import Stop
from vidx4.media.probe import probe


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that lets time pass."""
    now = [1000.0]
    monkeypatch.setattr("vidx4.jobs.folder.settling.time.monotonic", lambda: now[0])

    def pass_by(seconds: float) -> None:
        now[0] += seconds

    return pass_by


def test_a_file_is_whole_once_it_has_not_changed_for_long_enough(
    tmp_path: Path, clock: Callable[[float], None]
) -> None:
    path, settling = tmp_path / "film.mkv", Settling(10)
    path.write_bytes(b"one")
    looks = [settling.is_settled(path)]
    for _ in range(5):  # bursts of three seconds
        clock(3)
        path.write_bytes(path.read_bytes() + b"more")
        looks.append(settling.is_settled(path))
    clock(9)
    looks.append(settling.is_settled(path))
    assert not any(looks)
    clock(1)
    assert settling.is_settled(path)


@pytest.mark.parametrize("seconds_ago", [8e8, 7200, -7200, -2e9])
def test_a_copy_that_gets_the_time_of_its_original_while_it_grows_is_not_whole(
    seconds_ago: float, tmp_path: Path, clock: Callable[[float], None]
) -> None:
    modified = time.time() - seconds_ago
    path, settling = tmp_path / "film.mkv", Settling(10)
    for _ in range(3):
        with path.open("ab") as file:
            file.write(b"more")
        os.utime(path, (modified, modified))
        assert not settling.is_settled(path)
        clock(9)
    clock(1)
    assert settling.is_settled(path)


def test_a_file_of_another_day_is_whole_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "film.mkv"
    path.write_bytes(b"one")
    os.utime(path, (1e9, 1e9))
    later = time.time() + 2 * 24 * 3600  # since the time of the last change of a name can't be set
    monkeypatch.setattr("vidx4.jobs.folder.settling.time.time", lambda: later)
    assert Settling(10).is_settled(path)


def test_a_file_that_is_gone_is_not_waited_for(tmp_path: Path) -> None:
    assert Settling(10).is_settled(tmp_path / "gone.mkv")


def test_other_files_are_done_while_one_grows_until_it_is_whole(tmp_path: Path) -> None:
    folder = one_film(tmp_path)
    film, growing, recorder = (folder / "film.mp4"), folder / "growing.mp4", Recorder()
    content = film.read_bytes()
    growing.write_bytes(content[:200])
    recorder.on_wait = lambda _: growing.write_bytes(content)

    class OneOld(Settling):
        def is_settled(self, path: Path) -> bool:
            return path == film or bool(recorder.waits)

    each = passes.Pass(batch(folder), recorder, Stop(), OneOld(0.5))
    reports = {report.path: report for report in each.run([film, growing])}
    assert [report.outcome for report in reports.values()] == [Outcome.DONE, Outcome.DONE]
    assert recorder.begun_paths == [film, growing]
    assert len(recorder.waits) == 1
    assert "1 file that is still being written" in recorder.waits[0]


class Writer(Settling):
    """Writes to a file before each look at it, as one that keeps growing."""

    def is_settled(self, path: Path) -> bool:
        if path.name.startswith("growing"):
            with path.open("ab") as file:
                file.write(b"more")
        return super().is_settled(path)


def test_a_file_that_keeps_growing_is_left(tmp_path: Path) -> None:
    folder = one_film(tmp_path)
    (folder / "growing.mp4").write_bytes(b"some")
    each = passes.Pass(batch(folder), Recorder(), Stop(), Writer(0.2))
    reports = {report.path.name: report for report in each.run(batch(folder).selection.find())}
    assert reports["growing.mp4"].outcome == Outcome.LEFT
    assert "still being written" in reports["growing.mp4"].message
    assert reports["film.mp4"].outcome == Outcome.DONE


def test_the_wait_for_a_file_can_be_stopped(tmp_path: Path) -> None:
    folder, stop, recorder = one_film(tmp_path), Stop(), Recorder()
    recorder.on_wait = lambda _: stop.set()
    reports = work(batch(folder), recorder, stop, settled_after=10_000)
    assert reports["film.mp4"].outcome == Outcome.LEFT
    assert not recorder.begun_paths


def change(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0\0\0\x08free")  # an empty box of MP4


def test_a_file_that_changes_while_it_is_enlarged_is_begun_again(tmp_path: Path) -> None:
    folder, recorder = one_film(tmp_path, num_frames=20), Recorder()
    num_changes = 0

    def on_part(part: Part) -> None:
        nonlocal num_changes
        if num_changes < 1:
            num_changes += 1
            change(folder / "film.mp4")

    recorder.on_part = on_part
    report = work(batch(folder), recorder)["film.mp4"]
    assert (report.outcome, report.num_frames) == (Outcome.DONE, 20)
    assert recorder.begun_paths == 2 * [folder / "film.mp4"]
    assert report.output is not None
    assert probe(report.output).num_frames == 20
    assert work(batch(folder))["film.mp4"].outcome == Outcome.SKIPPED


def test_a_file_that_is_only_touched_while_it_is_enlarged_is_done(tmp_path: Path) -> None:
    folder, recorder = one_film(tmp_path, num_frames=20), Recorder()
    recorder.on_part = lambda part: os.utime(folder / "film.mp4", (2e9, 2e9))
    report = work(batch(folder), recorder)["film.mp4"]
    assert (report.outcome, len(recorder.begun_paths)) == (Outcome.DONE, 1)
    assert batch(folder).skip(folder / "film.mp4") is not None


def test_a_file_that_always_changes_is_left_and_done_by_the_next_run(tmp_path: Path) -> None:
    folder, recorder = one_film(tmp_path, num_frames=20), Recorder()
    recorder.on_part = lambda part: change(folder / "film.mp4")
    report = work(batch(folder), recorder)["film.mp4"]
    assert report.outcome == Outcome.LEFT
    assert len(recorder.begun_paths) == 3
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".vidx4-batch.jsonl"]
    assert work(batch(folder))["film.mp4"].outcome == Outcome.DONE


def test_a_source_that_changed_before_its_turn_is_looked_at_again(tmp_path: Path) -> None:
    folder = one_film(tmp_path)
    todo = batch(folder)
    item = todo.look(folder / "film.mp4")
    assert isinstance(item, Item)
    change(folder / "film.mp4")
    todo.open()
    with pytest.raises(SourceChangedError):
        todo.do(item, Control())


def test_a_picture_that_changes_has_no_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGB", (8, 6), "red").save(folder / "photo.png")
    backend = files.Batch._backend
    num_pictures = 0

    def changing(self: files.Batch, options: object) -> object:
        nonlocal num_pictures
        loaded = backend(self, options)  # type: ignore[arg-type]

        class Changing:
            identity = loaded.identity

            def picture(self, *arguments: object) -> object:
                nonlocal num_pictures
                num_pictures += 1
                change(folder / "photo.png")
                return loaded.picture(*arguments)  # type: ignore[arg-type]

        return Changing()

    monkeypatch.setattr(files.Batch, "_backend", changing)
    report = work(batch(folder))["photo.png"]
    assert (report.outcome, num_pictures) == (Outcome.LEFT, 3)
    assert not list((tmp_path / "out").glob("*.png"))


def test_a_source_that_is_deleted_once_it_is_enlarged_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = one_film(tmp_path)
    finish = Run.finish

    def delete(run: Run) -> object:
        report = finish(run)
        (folder / "film.mp4").unlink()
        return report

    monkeypatch.setattr(Run, "finish", delete)
    report = work(batch(folder))["film.mp4"]
    assert report.outcome == Outcome.DONE
    assert report.output is not None
    assert report.output.exists()


def test_a_watched_file_is_done_once_it_is_whole(tmp_path: Path) -> None:
    folder, stop, recorder = one_film(tmp_path), Stop(), Recorder()
    film = folder / "film.mp4"
    content = film.read_bytes()
    film.write_bytes(content[:100])
    num_looks = 0

    class Late(Settling):
        def is_settled(self, path: Path) -> bool:
            nonlocal num_looks
            num_looks += 1
            if num_looks == 2:
                path.write_bytes(content)
            return super().is_settled(path)

    done: list[FileReport] = []

    def reported(report: FileReport) -> None:
        done.append(report)
        stop.set()

    recorder.reported = reported  # type: ignore[method-assign]
    Watch(batch(folder), recorder, stop, Late(0.3)).run_all(0.05)
    assert [report.outcome for report in done] == [Outcome.DONE]
    assert num_looks > 2
    assert len(recorder.waits) == 1


def test_a_watched_file_that_grows_to_the_end_is_left(tmp_path: Path) -> None:
    folder, stop, recorder = one_film(tmp_path), Stop(), Recorder()
    recorder.on_wait = lambda _: stop.set()
    (report,) = Watch(batch(folder), recorder, stop, Settling(10_000)).run_all(0.05)
    assert report.outcome == Outcome.LEFT


def test_a_dry_run_names_what_is_wrong_with_a_file_that_is_new(tmp_path: Path) -> None:
    """It does not wait to see whether the file is still being written."""
    folder = one_film(tmp_path)
    (folder / "bad.mp4").write_bytes(b"no film")
    looks = passes.Pass(batch(folder), Recorder(), Stop(), Settling(10)).look_at_all()
    (bad,) = (look for look in looks if look.path.name == "bad.mp4")
    assert isinstance(bad, FileReport)
    assert bad.outcome == Outcome.FAILED
