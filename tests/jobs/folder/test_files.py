"""A folder: the tree is kept, finished files are skipped, a bad file doesn't stop the others."""

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from tests.capabilities import CAN_LINK, TAKES_ANY_NAME, needs_signals
from tests.helpers import check_same
from tests.video_files import write_video
from vidx4.cli.commands import app
from vidx4.cli.progress_bar import stoppable
from vidx4.diffusion.models import registry as models
from vidx4.diffusion.options import UpscaleOptions
from vidx4.errors import DeviceError, OutputError
from vidx4.files.own_folder import own_folder
from vidx4.jobs.estimate import Estimate
from vidx4.jobs.folder.files import Batch
from vidx4.jobs.folder.item import FileOptions, Item
from vidx4.jobs.folder.journal import DEVICE_FAILED, Journal
from vidx4.jobs.folder.passes import Pass
from vidx4.jobs.folder.records import Records
from vidx4.jobs.folder.reports import FileReport, Outcome
from vidx4.jobs.folder.selection import Selection
from vidx4.jobs.folder.settling import Settling
from vidx4.jobs.folder.tally import Total
from vidx4.jobs.part_record import Part
from vidx4.jobs.progress import Progress
from vidx4.jobs.request import Request
from vidx4.jobs.stop import Stop
from vidx4.media.options import EncodeOptions
from vidx4.media.probe import probe

COMPACT = UpscaleOptions(model="compact", device="cpu")
OPTIONS = FileOptions(COMPACT, Request(encode=EncodeOptions(encoder_preset="ultrafast", crf=30)))
FLAGS = ("--device", "cpu", "--encoder-preset", "ultrafast", "--settled-after", "0")
SMALL = {"width": 32, "height": 24, "num_audio": 0}
ODD_NAMES = (
    *("it's odd.mp4", "Fête 映画.mp4", "-dash.mp4"),
    *(('an "odd" one.mp4', "new\nline.mp4", "[red]*?.mp4") if TAKES_ANY_NAME else ()),
)
NUM_FILES = len(ODD_NAMES) + 3


class Recorder:
    """Records the events of a batch."""

    def __init__(self) -> None:
        self.totals: list[Total] = []
        self.estimates: list[tuple[Estimate, Total]] = []
        self.begun_paths: list[Path] = []
        self.waits: list[str] = []
        self.on_wait: Callable[[str], object] = lambda message: None
        self.on_part: Callable[[Part], object] = lambda part: None

    def passed_over(self, reasons: Mapping[str, str]) -> None:
        pass

    def looking(self, num_done: int, num_files: int) -> None:
        pass

    def waiting(self, message: str) -> None:
        self.waits.append(message)
        self.on_wait(message)

    def planned(self, looks: Sequence[Item | FileReport]) -> None:
        self.looks = looks

    def begun(self, item: Item, number: int, num_files: int) -> None:
        self.begun_paths.append(item.path)

    def estimated(self, item: Item, estimate: Estimate, total: Total) -> None:
        self.estimates.append((estimate, total))

    def progressed(self, item: Item, progress: Progress, total: Total) -> None:
        self.totals.append(total)

    def part_made(self, item: Item, part: Part) -> None:
        self.on_part(part)

    def reported(self, report: FileReport) -> None:
        pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "deep er" / "still").mkdir(parents=True)
    for name in ODD_NAMES:
        write_video(folder / "deep er" / name, num_frames=2, **SMALL)  # type: ignore[arg-type]
    write_video(folder / "same.mp4", num_frames=2, **SMALL)  # type: ignore[arg-type]
    write_video(folder / "same.mkv", num_frames=2, **SMALL)  # type: ignore[arg-type]
    (folder / "broken.mp4").write_bytes(b"nothing")
    (folder / "notes.txt").write_text("not wanted")
    (folder / ".hidden.mp4").write_text("not wanted")
    (folder / "left.mp4.vidx4").mkdir()
    (folder / "left.mp4.vidx4" / "film.mp4").write_text("not wanted")
    if CAN_LINK:
        (folder / "loop").symlink_to(folder)
    Image.new("RGB", (8, 6), "red").save(folder / "deep er" / "still" / "photo.png")
    for path in folder.rglob("*.*"):
        if path.is_file():
            os.utime(path, (1e9, 1e9))
    return folder


def batch(folder: Path, options: FileOptions = OPTIONS, **flags: Any) -> Batch:
    return Batch(Selection(folder, folder.parent / "out"), lambda name: options, **flags)


def work(
    batch: Batch, recorder: Recorder | None = None, stop: Stop | None = None, settled_after: float = 0
) -> dict[str, FileReport]:
    each = Pass(batch, recorder or Recorder(), stop or Stop(), Settling(settled_after))
    reports = each.run(batch.selection.find())
    return {batch.selection.name(report.path): report for report in reports}


def one_film(tmp_path: Path, num_frames: int = 3) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    write_video(folder / "film.mp4", num_frames=num_frames, **SMALL)  # type: ignore[arg-type]
    os.utime(folder / "film.mp4", (1e9, 1e9))
    return folder


def test_keeps_the_tree_and_continues_after_a_bad_file(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    reports = work(batch(folder))
    outcomes = {name: report.outcome for name, report in reports.items()}
    good = [f"deep er/{name}" for name in ODD_NAMES] + ["same.mkv", "same.mp4", "deep er/still/photo.png"]
    assert outcomes == {**dict.fromkeys(good, Outcome.DONE), "broken.mp4": Outcome.FAILED}
    out = folder.parent / "out"
    written = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert written == {
        ".vidx4-batch.jsonl",
        *(f"deep er/{name.removesuffix('.mp4')}_x4.mp4" for name in ODD_NAMES),
        "deep er/still/photo_x4.png",
        "same_x4.mp4",
        "same_x4.mkv",
    }
    assert probe(out / "same_x4.mp4").num_frames == 2
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    again = work(batch(folder))
    assert {report.outcome for report in again.values()} == {Outcome.SKIPPED, Outcome.FAILED}


def test_finished_outputs_are_verified(tmp_path: Path) -> None:
    folder = one_film(tmp_path)
    output = work(batch(folder))["film.mp4"].output
    assert output is not None
    whole = output.read_bytes()
    assert work(batch(folder))["film.mp4"].outcome == Outcome.SKIPPED
    output.write_bytes(whole[:-100])
    changed = work(batch(folder))["film.mp4"]
    assert changed.outcome == Outcome.FAILED
    assert str(output) in changed.message
    assert (
        work(batch(folder, replace(OPTIONS, request=replace(OPTIONS.request, overwrite=True))))[
            "film.mp4"
        ].outcome
        == Outcome.DONE
    )
    check_same(output, whole)


def test_an_output_of_other_options_or_another_source_is_refused(tmp_path: Path) -> None:
    folder = one_film(tmp_path)
    work(batch(folder))
    others = FileOptions(UpscaleOptions(model="compact", device="cpu", seed=1), OPTIONS.request)
    report = work(batch(folder, others))["film.mp4"]
    assert report.outcome == Outcome.FAILED
    assert re.search(r"\bseed\b.*\b0\b.*\b1\b", report.message)
    assert "--overwrite" in report.message
    write_video(folder / "film.mp4", num_frames=3, width=32, height=24, num_audio=1)
    changed = work(batch(folder))["film.mp4"]
    assert (changed.outcome, "source" in changed.message) == (Outcome.FAILED, True)


def test_an_output_of_unknown_origin_counts_if_it_is_complete(tmp_path: Path) -> None:
    folder = one_film(tmp_path)
    output = work(batch(folder))["film.mp4"].output
    assert output is not None
    (tmp_path / "out" / ".vidx4-batch.jsonl").write_text('{"name": "film_x4.mp4", ')
    report = work(batch(folder))["film.mp4"]
    assert report.outcome == Outcome.SKIPPED
    assert report.message
    shutil.copy(folder / "film.mp4", output)
    (tmp_path / "out" / ".vidx4-batch.jsonl").unlink()
    report = work(batch(folder))["film.mp4"]
    assert report.outcome == Outcome.FAILED
    assert str(folder / "film.mp4") in report.message


def test_sources_that_did_not_change_are_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = one_film(tmp_path)
    work(batch(folder))
    read = Mock(side_effect=AssertionError("read"))
    monkeypatch.setattr("vidx4.jobs.identity.file_digest", read)
    assert work(batch(folder))["film.mp4"].outcome == Outcome.SKIPPED


def header_of(path: Path, width: int, height: int) -> Path:
    """Write the header of a gray PNG file, and no pixels."""
    header = b"IHDR" + struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    chunks = (header, b"IDAT" + zlib.compress(b""), b"IEND")
    parts = (struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each)) for each in chunks)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def test_the_copy_of_a_photo_of_twelve_megapixels_is_skipped(tmp_path: Path) -> None:
    """It has 192 megapixels, more than Pillow opens by itself."""
    photo = header_of(tmp_path / "in" / "photo.png", 4000, 3000)
    header_of(tmp_path / "out" / "photo_x4.png", 16000, 12000)
    report = batch(photo.parent).look(photo)
    assert isinstance(report, FileReport)
    assert report.outcome == Outcome.SKIPPED


def test_what_fits_no_memory_is_refused_before_the_work(tmp_path: Path) -> None:
    photo = header_of(tmp_path / "in" / "photo.png", 13000, 13000)
    faked = Mock(total=10**10, available=10**10)
    with (
        patch("vidx4.diffusion.memory.psutil.virtual_memory", return_value=faked),
        patch("vidx4.diffusion.memory.psutil.swap_memory", return_value=Mock(total=0)),
    ):
        report = batch(photo.parent).look(photo)
        forced = replace(OPTIONS, upscale=replace(COMPACT, ignore_memory=True))
        item = batch(photo.parent, forced).look(photo)
    assert isinstance(report, FileReport)
    assert report.outcome == Outcome.FAILED
    assert "13000x13000 needs at least about 406 GB" in report.message
    assert isinstance(item, Item)


def test_a_device_that_fails_ends_the_process_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    error = DeviceError("cuda:0 has failed.")
    error.add_note("64 of 96 frames are kept.")
    monkeypatch.setattr("vidx4.jobs.folder.files.start", Mock(side_effect=error))
    messages: list[bytes] = []
    ends: list[tuple[int, bytes]] = []
    journal = Journal(None, messages.append, lambda code: ends.append((code, messages[-1])))
    report = work(batch(one_film(tmp_path), journal=journal))["film.mp4"]
    assert report.outcome == Outcome.FAILED
    assert report.message == "cuda:0 has failed. 64 of 96 frames are kept."
    assert report.message in caplog.text
    ((code, last),) = ends
    assert code == DEVICE_FAILED
    assert b'"begun"' in last  # so the supervisor knows which file it was


def test_a_bug_does_not_stop_the_others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidx4.jobs.folder.files.start", Mock(side_effect=ZeroDivisionError("oops")))
    reports = work(batch(folder))
    assert reports["deep er/still/photo.png"].outcome == Outcome.DONE
    assert "ZeroDivisionError('oops')" in reports["same.mp4"].message


def test_the_model_is_loaded_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = Mock(side_effect=models.load)
    monkeypatch.setattr("vidx4.diffusion.upscaler.load", load)
    seeds = {"same.mp4": 1, "same.mkv": 2}

    def options_of(name: str) -> FileOptions:
        return FileOptions(
            UpscaleOptions(model="compact", device="cpu", seed=seeds.get(name, 0)), OPTIONS.request
        )

    work(Batch(Selection(folder, folder.parent / "out"), options_of))
    assert load.call_count == 1


def test_patterns_choose_files(folder: Path) -> None:
    out = folder.parent / "out"

    def names(include: Sequence[str] = (), exclude: Sequence[str] = ()) -> list[str]:
        selection = Selection(folder, out, tuple(include), tuple(exclude))
        return [selection.name(path) for path in selection.find()]

    assert names(["same.*"]) == ["same.mkv", "same.mp4"]
    assert names(["deep er/*.png"]) == ["deep er/still/photo.png"]
    assert names(exclude=["*.mp4"]) == ["deep er/still/photo.png", "same.mkv"]
    assert names(["same.*"], ["*.mkv"]) == ["same.mp4"]


def test_the_whole_is_estimated_from_the_first_file(folder: Path) -> None:
    recorder = Recorder()
    work(batch(folder), recorder)
    ((estimate, total),) = recorder.estimates
    assert total.num_files == NUM_FILES
    assert total.num_frames == 2 * NUM_FILES - 1
    assert total.seconds_left >= estimate.seconds_left
    assert [total.number for total in recorder.totals] == sorted(total.number for total in recorder.totals)
    assert recorder.totals[-1].share_done == pytest.approx(1.0)
    assert recorder.totals[-1].seconds_left == pytest.approx(0.0)


def test_work_resumes_inside_a_file(tmp_path: Path) -> None:
    folder = one_film(tmp_path, num_frames=40)
    stop, recorder = Stop(), Recorder()
    recorder.on_part = lambda part: stop.set()
    left = work(batch(folder), recorder, stop)["film.mp4"]
    assert left.outcome == Outcome.LEFT
    assert re.search(r"\b4\b.*\b40\b", left.message)
    recorder = Recorder()
    done = work(batch(folder), recorder)["film.mp4"]
    (look,) = recorder.looks
    assert isinstance(look, Item)
    assert (look.num_kept, look.num_left) == (4, 36)
    assert (done.outcome, done.num_frames) == (Outcome.DONE, 36)


def test_an_output_folder_inside_the_folder_is_refused(folder: Path) -> None:
    with pytest.raises(OutputError, match=re.escape(str(folder / "out"))):
        Selection(folder, folder / "out")


def vidx4(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_reports_on_every_file(folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    result = vidx4("batch", folder, tmp_path / "out", *FLAGS, "--report", report)
    assert result.exit_code == 1
    assert not TAKES_ANY_NAME or "new\\nline.mp4" in result.output
    facts = json.loads(report.read_text())
    assert facts["num_files"] == {"done": NUM_FILES, "skipped": 0, "failed": 1, "left": 0, "gone": 0}
    assert facts["passed_over"] == [*(["loop"] if CAN_LINK else []), "notes.txt"]
    assert "1 file is passed over, neither videos nor pictures: notes.txt" in result.stderr
    assert f"{NUM_FILES} done, 1 failed, {2 if CAN_LINK else 1} passed over" in result.stderr
    assert len(re.findall(r": noise level \d+, estimated\n", result.stderr)) == NUM_FILES
    assert "broken.mp4. The same command tries those that failed again" in result.stderr
    failed = next(each for each in facts["files"] if each["outcome"] == "failed")
    assert failed["path"].endswith("broken.mp4")
    assert failed["message"]
    (folder / "broken.mp4").unlink()
    again = vidx4("batch", folder, tmp_path / "out", *FLAGS)
    assert again.exit_code == 0
    assert f"{NUM_FILES} skipped" in again.stderr


def test_a_dry_run_makes_nothing(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.mp4").unlink()
    result = vidx4("batch", folder, tmp_path / "out", *FLAGS, "--dry-run")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("to do") == NUM_FILES
    assert "2 of 32x24" in result.stdout
    assert not (tmp_path / "out").exists()


def test_events_name_their_file(tmp_path: Path) -> None:
    folder = one_film(tmp_path)
    result = vidx4("batch", folder, tmp_path / "out", *FLAGS, "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    kinds = {event["event"]: event for event in events}
    assert {"plan", "estimate", "progress", "part", "file", "done"} <= set(kinds)
    assert kinds["progress"]["file"] == kinds["part"]["file"] == str(folder / "film.mp4")
    assert kinds["done"]["done"] == 1


def test_events_name_what_is_passed_over(tmp_path: Path) -> None:
    folder = one_film(tmp_path)
    (folder / "sub").mkdir()
    for name in ("notes.txt", "sub/film.srt", "vidx4.toml", ".hidden.txt"):
        (folder / name).write_text("")
    for flags in ((), ("--dry-run",)):
        result = vidx4("batch", folder, tmp_path / "out", *FLAGS, "--json", *flags)
        events = [json.loads(line) for line in result.stdout.splitlines()]
        kinds = {event["event"]: event for event in events}
        assert kinds["passed_over"]["files"] == ["notes.txt", "sub/film.srt"]
        assert flags or kinds["done"]["passed_over"] == 2


def test_a_folder_without_videos_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    result = vidx4("batch", tmp_path / "in", tmp_path / "out", *FLAGS)
    assert result.exit_code == 2
    assert str(tmp_path / "in") in result.output.replace("\n", "")


def started(folder: Path, *flags: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "vidx4",
        "batch",
        str(folder),
        str(folder.parent / "out"),
        *FLAGS,
        *flags,
    ]
    return subprocess.Popen(
        [*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def wait_for(process: "subprocess.Popen[str]", event: str) -> None:
    assert process.stdout is not None
    while f'"event": "{event}"' not in process.stdout.readline():
        assert process.poll() is None


@needs_signals
@pytest.mark.slow
def test_a_stopped_batch_reports_and_can_be_resumed(tmp_path: Path) -> None:
    folder = one_film(tmp_path, num_frames=600)
    shutil.copy2(folder / "film.mp4", folder / "second.mp4")
    with started(folder) as process:
        wait_for(process, "part")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    events = [json.loads(line) for line in output.splitlines()]
    assert [each["outcome"] for each in events if each["event"] == "file"] == ["left", "left"]
    error = events[-1]
    assert "2 of 2 files are left" in error["message"]
    assert error["command"].startswith("vidx4 batch")
    assert (tmp_path / "out" / "film_x4.mp4.vidx4").is_dir()


@needs_signals
def test_a_signal_counts_in_whichever_thread_it_arrives(tmp_path: Path) -> None:
    folder = one_film(tmp_path, num_frames=200)
    stop, recorder, is_sent = Stop(), Recorder(), Stop()

    def interrupt(part: Part) -> None:
        if not is_sent.is_set():
            is_sent.set()
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

    recorder.on_part = interrupt
    with stoppable(stop, quiet=True):
        reports = work(batch(folder), recorder, stop)
    assert reports["film.mp4"].outcome == Outcome.LEFT


@needs_signals
@pytest.mark.slow
def test_new_files_in_a_watched_folder_are_upscaled(tmp_path: Path) -> None:
    folder = one_film(tmp_path)
    with started(folder, "--watch") as process:
        wait_for(process, "file")
        (folder / "late.txt").write_text("")
        new = tmp_path / "new.mp4"
        write_video(new, num_frames=2, **SMALL)  # type: ignore[arg-type]
        os.utime(new, (1e9, 1e9))
        new.rename(folder / "new.mp4")
        wait_for(process, "file")
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    done = json.loads(output.splitlines()[-1])
    assert (done["done"], done["passed_over"]) == (2, 1)
    assert probe(tmp_path / "out" / "new_x4.mp4").num_frames == 2


def test_an_output_whose_source_was_deleted_is_not_recorded(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    output.write_text("a video")
    records = Records(tmp_path)
    records.add(output, tmp_path / "deleted.mp4", {})
    assert records.find(output) is None


def test_a_file_that_another_process_is_at_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_video(folder / "film.mp4", num_frames=2, **SMALL)  # type: ignore[arg-type]
    work_folder = tmp_path / "out" / "film_x4.mp4.vidx4"
    with own_folder(work_folder):
        report = work(batch(folder))["film.mp4"]
    assert report.outcome == Outcome.LEFT
    assert str(work_folder) in report.message
