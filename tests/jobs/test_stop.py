"""Stopped, or out of disk space, the program keeps finished parts and says how to resume."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from scripts.stress.kills import make_clip
from tests.capabilities import known_signals, needs_shell, needs_signals
from tests.helpers import upscale_nearest
from vidx4.errors import DiskFullError
from vidx4.files import write as whole
from vidx4.jobs import estimate as estimated
from vidx4.jobs.estimate import check_disk
from vidx4.jobs.job import Job
from vidx4.jobs.local import LocalExecutor
from vidx4.jobs.plan import Plan, plan_video
from vidx4.jobs.progress import Control
from vidx4.jobs.request import Request
from vidx4.jobs.run import run, start
from vidx4.jobs.work_folder import PLAN
from vidx4.media.options import EncodeOptions
from vidx4.media.probe import probe

FAST = EncodeOptions(encoder_preset="ultrafast", crf=30)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    make_clip(tmp_path / "clip.mp4")
    return plan_video(tmp_path / "clip.mp4", tmp_path / "out" / "clip.mp4", Request(encode=FAST))


def command(plan: Plan, *flags: str) -> list[str]:
    arguments = ["upscale", str(plan.source.path), str(plan.output), "--device", "cpu", *flags]
    return [sys.executable, "-m", "vidx4", *arguments]


def started(plan: Plan, event: str, *flags: str) -> subprocess.Popen[str]:
    """Start the program, and return it after its first event of a kind."""
    process = subprocess.Popen(
        command(plan, "--json", *flags), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while f'"event": "{event}"' not in process.stdout.readline():
        assert process.poll() is None
    return process


@needs_signals
@pytest.mark.slow
@pytest.mark.parametrize("signum", known_signals("SIGINT", "SIGTERM", "SIGHUP"))
def test_a_signal_keeps_finished_parts_and_says_how_to_resume(signum: int, plan: Plan) -> None:
    with started(plan, "part") as process:
        process.send_signal(signum)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    last = json.loads(output.splitlines()[-1])
    assert last["event"] == "error"
    assert re.search(r"\d+ of 129 ", last["message"])
    assert str(plan.work_folder) in last["message"]
    assert last["command"].startswith("vidx4 upscale ")
    assert [path.name for path in plan.output.parent.iterdir()] == ["clip.mp4.vidx4"]


@needs_shell
@needs_signals
@pytest.mark.slow
def test_a_hangup_is_ignored_under_nohup(plan: Plan) -> None:
    """`nohup` starts programs with the signal ignored."""
    shell = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *command(plan, "--json")]
    with subprocess.Popen(shell, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while '"event": "part"' not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=120)
    assert process.returncode == 0
    assert plan.output.exists()


@needs_signals
@pytest.mark.slow
def test_a_second_signal_ends_the_program_at_once(plan: Plan) -> None:
    """At 900 steps a batch takes long: only the second signal ends the program before it is done."""
    with started(plan, "note", "--steps", "900") as process:
        while not (plan.work_folder / PLAN).exists():
            assert process.poll() is None
            time.sleep(0.1)
        seconds_used = psutil.Process(process.pid).cpu_times
        before = seconds_used().user
        while seconds_used().user < before + 2:  # then the model is at work
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=5) == 130


def test_a_full_disk_is_reported_with_the_space_needed_and_the_job_resumes(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is simulated: it is full after some files."""
    job = Job(plan, LocalExecutor(upscale_nearest), 4)
    num_left, flush = 9, whole._flush

    def full(path: Path, flags: int) -> None:
        nonlocal num_left
        num_left -= 1
        if num_left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(path, flags)

    monkeypatch.setattr(whole, "_flush", full)
    with pytest.raises(DiskFullError) as caught:
        run(job)
    monkeypatch.undo()
    needed, kept = caught.value.__notes__
    assert re.search(r"\d [kM]B", needed)
    assert str(plan.work_folder) in kept
    assert 0 < run(job).num_new < 129
    assert probe(plan.output).num_frames == 129


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a disk of 128 KiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a disk can't be mounted here")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def test_a_real_full_disk(plan: Plan, small_disk: Path) -> None:
    """The parts fit, the output does not: after room is made, the job resumes."""
    on_disk = plan_video(plan.source.path, small_disk / "out.mp4", Request(encode=FAST))
    job = Job(on_disk, LocalExecutor(upscale_nearest), 4)
    with pytest.raises(DiskFullError):
        run(job, ignore_disk_space=True)
    kept = [path.name for path in on_disk.work_folder.iterdir() if path.suffix == ".nut"]
    assert kept
    assert not on_disk.output.exists()
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    assert run(job).num_frames == 129


def test_a_job_that_does_not_fit_the_disk_is_refused_before_it_starts(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(plan.source.path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    job = Job(plan, LocalExecutor(upscale_nearest), 4)
    with pytest.raises(DiskFullError, match="--ignore-disk-space"):
        run(job)
    parts: list[object] = []
    run(job, Control(on_part=parts.append), ignore_disk_space=True)
    assert len(parts) == 4  # the first was made for the estimate


def test_an_output_that_fat_can_not_hold_is_refused_before_it_is_made(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = SimpleNamespace(mountpoint=str(plan.output.parent.parent), fstype="vfat")
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: [place])
    monkeypatch.setattr(estimated, "MAX_FAT_SIZE", 1000)
    with pytest.raises(DiskFullError, match="FAT"):
        run(Job(plan, LocalExecutor(upscale_nearest), 4))


def test_the_estimate_names_its_basis_and_is_roughly_right(plan: Plan) -> None:
    with start(Job(plan, LocalExecutor(upscale_nearest), 4)) as work:
        estimate = work.estimate()
        check_disk(plan, estimate)
        work.finish()
    assert "8 frames" in estimate.basis
    assert estimate.num_left == 121
    assert estimate.output_size == pytest.approx(plan.output.stat().st_size, rel=0.5)
