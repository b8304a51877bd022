"""Work ends in time, is paused by signals, and ends with a command that the user chose."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from scripts.stress.kills import make_clip
from tests.capabilities import needs_shell, needs_signals
from tests.conftest import MakeVideo
from vidx4.cli import notify
from vidx4.cli.commands import app
from vidx4.jobs.folder.options import file_options

FAST = ("--encoder-preset", "ultrafast", "--device", "cpu")
TELL = 'printf "%s|%s|%s" "$VIDX4_STATUS" "$VIDX4_MESSAGE" "$VIDX4_INPUT" >'


def vidx4(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


@needs_shell
def test_a_job_whose_time_is_up_has_a_code_of_its_own_and_resumes(tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mp4")
    typed = ("upscale", tmp_path / "clip.mp4", tmp_path / "out.mp4", *FAST)
    told = tmp_path / "told"
    result = vidx4(*typed, "--for", "0s", "--notify", f"sleep 0.1; {TELL} {told}", "--json")
    error = json.loads(result.stdout.splitlines()[-1])
    assert (result.exit_code, error["event"], error["exit_code"]) == (75, "error", 75)
    assert told.read_text().startswith("time-up|The time is up.")
    assert vidx4(*typed, "--until", "23:59").exit_code == 0


def test_a_batch_whose_time_is_up_leaves_the_rest(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in "ab":
        make_clip(tmp_path / "in" / f"{name}.mp4")
    typed = ("batch", tmp_path / "in", tmp_path / "out", *FAST, "--settled-after", 0)
    result = vidx4(*typed, "--for", "0s")
    assert result.exit_code == 75
    assert not list(tmp_path.glob("out/*.mp4"))
    assert vidx4(*typed).exit_code == 0


def test_time_that_is_past_is_refused_before_the_work(make_video: MakeVideo) -> None:
    result = vidx4("upscale", make_video(num_frames=2), "--until", "2020-01-01T07:00")
    assert result.exit_code == 2
    assert "--until" in result.stderr
    assert "model" not in result.stderr


@needs_shell
@pytest.mark.parametrize(
    "name", ["$(touch oops).mp4", "a'b\"c.mp4", "; exit 9 #.mp4", "new\nline.mp4", "-y.mp4"]
)
def test_a_name_is_only_a_value_to_the_command(
    name: str, make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_video(num_frames=2).rename(tmp_path / name)
    vidx4("upscale", "-o", "out.mp4", *FAST, "--notify", f"{TELL} told", "--", name)
    assert Path("told").read_text(encoding="utf-8") == f"done||{name}"
    assert not Path("oops").exists()


@needs_shell
def test_the_command_learns_of_failures(tmp_path: Path) -> None:
    told = tmp_path / "told"
    result = vidx4("upscale", tmp_path / "none.mp4", "--notify", f"{TELL} {told}")
    assert result.exit_code == 2
    assert told.read_text().startswith("failed|")
    assert "none.mp4 does not exist" in told.read_text()


@pytest.mark.parametrize(
    ("command", "why"), [("exit 3", "exit code 3"), ("sleep 60", "took more"), ("no-such-command", "127")]
)
def test_a_command_that_fails_or_hangs_changes_no_result(
    command: str, why: str, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "PATIENCE_SECONDS", 0.5)
    result = vidx4("upscale", make_video(num_frames=2), *FAST, "--notify", command)
    assert result.exit_code == 0
    assert why in result.stderr


def test_a_folder_can_not_choose_the_command() -> None:
    assert not {"notify", "until", "for"} & set(file_options())


@needs_signals
@pytest.mark.slow
def test_signals_pause_a_job_and_have_it_continue(tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mp4")
    output = tmp_path / "out.mp4"
    command = [sys.executable, "-m", "vidx4", "upscale", str(tmp_path / "clip.mp4"), str(output), *FAST]
    with subprocess.Popen([*command, "--steps", "20"], stderr=subprocess.PIPE, text=True) as process:
        work_folder = tmp_path / "out.mp4.vidx4"
        while not list(work_folder.glob("*.nut")):
            assert process.poll() is None
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGUSR1)
        time.sleep(3)  # the frames in progress are finished
        before = sorted(work_folder.iterdir())
        time.sleep(2)
        assert (sorted(work_folder.iterdir()), process.poll(), output.exists()) == (before, None, False)
        os.kill(process.pid, signal.SIGUSR2)
        _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert f"kill -USR2 {process.pid}" in errors
    assert output.exists()
