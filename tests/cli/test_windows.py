"""The program where what only POSIX systems have is missing, and files behave as on Windows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from scripts.stress.kills import make_clip
from tests.capabilities import needs_proc, needs_signals
from tests.simulated_windows import CTRL_BREAK, command, environment

FAST = ("--device", "cpu", "--encoder-preset", "ultrafast")
ALL_IN_ONE = """
import sys
from vidx4.cli.commands import main
for arguments in {commands}:
    sys.argv = ["vidx4", *arguments]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""

pytestmark = [pytest.mark.slow, needs_proc, needs_signals]  # for those who simulate


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    ended = subprocess.run(
        command(*arguments), env=environment(), capture_output=True, text=True, encoding="cp1252", check=False
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_a_job_that_ctrl_break_stops_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mp4")
    typed = ("upscale", tmp_path / "clip.mp4", tmp_path / "new" / "out.mp4", *FAST, "--json")
    with subprocess.Popen(command(*typed), env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while '"event": "part"' not in (line := process.stdout.readline()):
            assert line
        os.kill(process.pid, CTRL_BREAK)
        process.communicate(timeout=300)
    assert process.returncode == 130
    assert names(tmp_path / "new") == ["out.mp4.vidx4"]
    assert run(*typed).returncode == 0
    assert names(tmp_path / "new") == ["out.mp4"]  # whole, without its work folder and its lock
    plain = [sys.executable, "-m", "vidx4", *map(str, typed[:2]), str(tmp_path / "plain.mp4"), *FAST]
    subprocess.run(plain, check=True, capture_output=True)
    assert (tmp_path / "new" / "out.mp4").read_bytes() == (tmp_path / "plain.mp4").read_bytes()


def test_a_batch_with_its_supervisor(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    make_clip(tmp_path / "in" / "one.mp4")
    (tmp_path / "in" / "bad.mp4").write_text("no film", encoding="utf-8")
    typed = ("batch", tmp_path / "in", tmp_path / "out", *FAST, "--settled-after", 0, "--json", "--steps", 1)
    ended = run(*typed)
    outcomes = [each["outcome"] for each in map(json.loads, ended.stdout.splitlines()) if "outcome" in each]
    assert (ended.returncode, sorted(outcomes)) == (1, ["done", "failed"])
    assert names(tmp_path / "out") == [".vidx4-batch.jsonl", "one_x4.mp4"]
    (tmp_path / "in" / "bad.mp4").unlink()
    assert run(*typed).returncode == 0


def test_the_other_commands(tmp_path: Path) -> None:
    clip, picture, part = (tmp_path / name for name in ("clip.mp4", "photo.png", "part.mp4"))
    make_clip(clip)
    Image.new("RGB", (24, 16), "teal").save(picture)
    commands: list[list[object]] = [
        ["doctor"],
        ["models"],
        ["upscale", picture, tmp_path / "photo_x4.png", "--device", "cpu"],
        ["upscale", clip, tmp_path / "frames/%06d.png", "--device", "cpu", "--stop", "0.1", "--steps", "1"],
        ["upscale", clip, part, *FAST, "--steps", "1", "--report", tmp_path / "report.json"],
        ["verify", clip, part],
        ["preview", clip, "--device", "cpu", "--steps", "1"],
        ["compare", clip, part, "--overwrite"],
    ]
    code = ALL_IN_ONE.format(commands=[[*map(str, each)] for each in commands])
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        capture_output=True,
        text=True,
        encoding="cp1252",
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert not [name for name in names(tmp_path) if name.startswith(".") or name.endswith(".vidx4")]


def test_a_cluster_is_refused(tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mp4")
    ended = run("upscale", tmp_path / "clip.mp4", "--cluster", "local", *FAST)
    assert ended.returncode == 2
    assert "Linux and macOS" in ended.stderr
    assert names(tmp_path) == ["clip.mp4"]
