"""The program that sets a clone up on every system."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts import start
from tests.capabilities import needs_shell

TORCH = start.TORCH_VERSION


@pytest.mark.parametrize(
    ("system", "has_gpu", "wanted", "build"),
    [
        ("Linux", False, "", "cpu"),
        ("Linux", True, "", "default"),
        ("Linux", True, "cpu", "cpu"),
        ("Linux", False, "cuda", "default"),
        ("Linux", False, "cu126", "cu126"),
        ("Darwin", False, "", "default"),
        ("Darwin", False, "cpu", "default"),
        ("Windows", False, "", "default"),
        ("Windows", True, "", start.CUDA_BUILD),
        ("Windows", True, "cpu", "default"),
        ("Windows", True, "cu126", "cu126"),
    ],
)
def test_the_build_of_pytorch_fits_the_machine(
    system: str, has_gpu: bool, wanted: str, build: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr(start, "has_nvidia_gpu", lambda: has_gpu)
    monkeypatch.setenv("VIDX4_TORCH", wanted)
    assert start.choose_torch() == build


def test_a_build_that_nobody_knows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDX4_TORCH", "rocm")
    with pytest.raises(SystemExit, match="VIDX4_TORCH is 'rocm'"):
        start.choose_torch()


@pytest.mark.parametrize(
    ("build", "constraint", "num_tries"),
    [
        ("default", f"torch>={TORCH},!={TORCH}+cpu\n", 1),
        ("cpu", f"torch=={TORCH}+cpu\n", 2),
        ("cu130", f"torch=={TORCH}+cu130\n", 2),
    ],
)
def test_a_build_comes_from_a_configured_index_or_from_that_of_pytorch(
    build: str, constraint: str, num_tries: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[tuple[object, ...]] = []

    def pip(_: Path, *arguments: object, **__: Any) -> bool:
        tries.append(arguments)
        return False

    monkeypatch.setattr(start, "pip", pip)
    with pytest.raises(SystemExit, match="setup: "):
        start.install_torch(tmp_path, build)
    assert (tmp_path / "constraints.txt").read_text(encoding="utf-8") == constraint
    assert len(tries) == num_tries
    if num_tries == 2:
        assert tries[1][-2:] == ("--extra-index-url", f"https://download.pytorch.org/whl/{build}")


@pytest.mark.parametrize("is_windows", [False, True])
def test_programs_of_an_environment(is_windows: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "IS_WINDOWS", is_windows)
    expected = Path("venv", *(("Scripts", "vidx4.exe") if is_windows else ("bin", "vidx4")))
    assert start.program("vidx4", Path("venv")) == expected


def test_an_environment_is_made_anew_only_for_a_reason(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("1 Python 3.12.1 cpu /a clone extra=dev cluster\n", encoding="utf-8")
    state = "1 Python 3.12.1 cpu /a clone"
    assert all(start.is_current(tmp_path, state, extra) for extra in ("", "dev", "cluster"))
    assert not start.is_current(tmp_path, state.replace("cpu", "default"), "")
    (tmp_path / "state").write_text(f"{state} extra=\n", encoding="utf-8")
    assert start.is_current(tmp_path, state, "")
    assert not start.is_current(tmp_path, state, "dev")
    assert not start.is_current(tmp_path / "none", state, "")


def test_an_interpreter_that_is_too_old_or_missing_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON", "python2")
    monkeypatch.setattr(start, "succeeds", lambda python, *_: python in ("python3.12", "py"))
    assert start.find_python()[0] in ("python3.12", "py")
    monkeypatch.setattr(start, "succeeds", lambda *_: False)
    with pytest.raises(SystemExit, match=r"Python 3\.11 or newer"):
        start.find_python()


def test_commands_get_their_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[object, ...]] = []
    monkeypatch.setattr(start, "setup", lambda extra="": ran.append((extra,)))
    monkeypatch.setattr(start, "run", lambda *command, **_: ran.append(command))
    start.test("-k", "denoise")
    start.test("--all", "tests/files")
    assert [command[-4:] for command in ran[1::2]] == [
        ("-m", "not slow and not ray", "-k", "denoise"),
        ("loadfile", "-m", "", "tests/files"),
    ]
    ran.clear()
    start.demo("--steps", "2")
    assert ran[1][1:3] == ("upscale", "samples/london.mp4")
    assert ran[1][-2:] == ("--steps", "2")


def test_it_says_what_it_can_do() -> None:
    program = [sys.executable, str(Path(start.__file__))]
    told = subprocess.run([*program, "--help"], capture_output=True, text=True, check=True).stdout
    assert all(f"start.py {name}" in told for name in ("setup", "demo", "test", "check", "wheel"))
    assert subprocess.run([*program, "dance"], capture_output=True, check=False).returncode == 2


@needs_shell
def test_scripts_of_the_shell_only_call_it() -> None:
    folder = Path(start.__file__).parent
    for name in ("setup", "demo", "test", "check", "wheel"):
        assert f'/start" {name} "$@"' in (folder / name).read_text(encoding="utf-8")
    told = subprocess.run([folder / "start", "--help"], capture_output=True, text=True, check=True).stdout
    assert "start.py demo" in told
