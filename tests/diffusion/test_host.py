"""The memory of a container counts, not that of the host."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from vidx4.diffusion import host
from vidx4.diffusion.host import available_memory, total_memory

MB = 10**6


def set_up(root: Path, monkeypatch: pytest.MonkeyPatch, groups: str, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "groups").write_text(groups)
    monkeypatch.setattr(host, "_ROOT", root)
    monkeypatch.setattr(host, "_GROUPS", root / "groups")


def test_a_limit_of_version_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"memory.max": f"{900 * MB}\n", "memory.current": f"{200 * MB}\n"}
    set_up(tmp_path, monkeypatch, "0::/not/visible/here\n", files)
    assert total_memory() == 900 * MB
    assert available_memory() == 700 * MB


def test_a_limit_of_a_group_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "a/memory.max": f"{900 * MB}\n",
        "a/memory.current": f"{950 * MB}\n",
        "a/b/memory.max": "max\n",
        "a/b/memory.current": f"{200 * MB}\n",
    }
    set_up(tmp_path, monkeypatch, "0::/a/b\n", files)
    assert total_memory() == 900 * MB
    assert available_memory() == 0


def test_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up(tmp_path, monkeypatch, "4:memory:/\n0::/\n", {"memory.max": "max\n"})
    assert total_memory() == psutil.virtual_memory().total


@pytest.fixture
def group() -> Iterator[Path]:
    """Return a real control group of version 1 with 900 MB."""
    path = Path("/sys/fs/cgroup/memory", f"vidx4-{os.getpid()}")
    try:
        path.mkdir()
        (path / "memory.limit_in_bytes").write_text(str(900 * MB))
    except OSError:
        pytest.skip("no control group of version 1 can be made here")
    yield path
    path.rmdir()


def test_a_real_limit(group: Path) -> None:
    code = "import sys; from pathlib import Path; from vidx4.diffusion.host import total_memory\n"
    code += "Path(sys.argv[1], 'cgroup.procs').write_text('0'); print(total_memory())"
    done = subprocess.run([sys.executable, "-c", code, str(group)], capture_output=True, check=True)
    assert int(done.stdout) == pytest.approx(900 * MB, rel=1e-3)
