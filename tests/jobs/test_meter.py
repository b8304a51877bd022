"""What the meter says of a job's speed and of the time left."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts.stress.kills import make_clip
from tests.capabilities import needs_signals
from vidx4.jobs import meter as measured
from vidx4.jobs.meter import RECENT_SECONDS, Meter
from vidx4.jobs.plan import plan_video
from vidx4.jobs.progress import Advance, Control, Progress


def test_the_time_left_follows_from_the_last_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first 32 frames take 60 s each, since another program works as well; those after them take 1 s."""
    make_clip(tmp_path / "clip.mp4")
    plan = plan_video(tmp_path / "clip.mp4", tmp_path / "out.mp4")
    now = 0.0
    monkeypatch.setattr(measured, "working_seconds", lambda: now)
    seen: list[Progress] = []
    folder = SimpleNamespace(parts={}, num_done=0)
    meter = Meter(plan, folder, Control(seen.append))  # type: ignore[arg-type]
    seconds_of = [60.0] * 32 + [1.0] * 97
    left_after = []
    for number, seconds in enumerate(seconds_of, 1):
        now += seconds
        meter.add(Advance(0, number, number, 0.0, True, plan.source.pts[0], 0))
        left_after.append(seen[-1].seconds_left)
    assert left_after[10] == pytest.approx(60 * 118)
    is_recent = 32 + int(RECENT_SECONDS)
    assert is_recent > 129 or left_after[is_recent] == pytest.approx(128 - is_recent)
    assert left_after[-20] < 3 * 19
    assert meter.seconds_per_frame() == pytest.approx((31 * 60 + 97) / 128)


@needs_signals
@pytest.mark.slow
def test_time_in_which_the_program_is_stopped_is_not_counted(tmp_path: Path) -> None:
    """As by Ctrl-Z; a signal that nobody can catch stops it here."""
    make_clip(tmp_path / "clip.mp4")
    report = tmp_path / "report.json"
    arguments = [str(tmp_path / "clip.mp4"), str(tmp_path / "out.mp4"), "--report", str(report), "--json"]
    command = [sys.executable, "-m", "vidx4", "upscale", *arguments, "--device", "cpu"]
    begun = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while '"event": "part"' not in process.stdout.readline():
            assert process.poll() is None
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(12)
        os.kill(process.pid, signal.SIGCONT)
        process.communicate(timeout=120)
    assert process.returncode == 0
    assert json.loads(report.read_text())["seconds"] < time.monotonic() - begun - 10
