"""Locks between processes, and what they keep others from."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulated_windows import environment
from vidx4.files.lock import close_locked, is_at, locked, try_lock
from vidx4.files.read import open_regular

LOCK = """
import sys
from pathlib import Path
from vidx4.files.lock import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.readline()
"""
PROBE = """
import os, sys
from pathlib import Path
from vidx4.files.lock import try_lock
from vidx4.files.read import open_regular, read_at
descriptor = open_regular(Path(sys.argv[1]), os.O_RDWR)
print(try_lock(descriptor), read_at(descriptor, 0, 100).decode())
"""


def start(code: str, path: Path, *, on_windows: bool) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(SIMULATED_WINDOWS_LIBRARIES="") if on_windows else None,
    )


@pytest.mark.parametrize("on_windows", [False, True])
def test_a_lock_keeps_other_processes_out_and_the_content_readable(tmp_path: Path, on_windows: bool) -> None:
    path = tmp_path / "lock"
    path.write_text("made by vidx4", encoding="utf-8")
    with start(LOCK, path, on_windows=on_windows) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with start(PROBE, path, on_windows=on_windows) as other:
            assert other.communicate()[0] == "False made by vidx4\n"
        holder.communicate("\n")
    with start(PROBE, path, on_windows=on_windows) as other:
        assert other.communicate()[0] == "True made by vidx4\n"


def test_a_lock_ends_with_its_block(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path), pytest.raises(BlockingIOError), locked(path):
        pass
    with locked(path, waits=True) as descriptor:
        other = open_regular(path, os.O_RDWR)
        assert not try_lock(other)
        close_locked(other)
        assert is_at(descriptor, path)
    with locked(path):
        pass
