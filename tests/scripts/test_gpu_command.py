"""scripts/gpu: parts that fail or take too long are recorded, and the next call resumes."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch

from scripts.bench import gpu
from scripts.bench.gpu import CUT, DONE, FAILED, ROOT, Record, attempt, new_setting
from scripts.bench.gpu_parts import TESTS, Part, Setting, against_diffusers, parts
from scripts.bench.gpu_report import markdown

SETTING = Setting("cpu", "auto", is_small=False, model=Path("model"), clip=Path("clip.mp4"))
WORKS = Part("works", 60, ("timeit", "-n1", "-r1", "print('fine')"))
FAILS = Part("fails", 60, ("timeit", "-n1", "-r1", "1/0"))
HANGS = Part("hangs", 1, ("timeit", "-n1", "-r1", "import subprocess; subprocess.run(['sleep', '600'])"))


@pytest.fixture
def new_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Record]:
    """Return a function that opens the record as a call of the command does."""
    monkeypatch.setattr(gpu, "in_child", lambda function, *arguments: function(*arguments))
    return lambda setting=SETTING: Record(tmp_path, setting)


def test_what_fails_is_recorded_and_the_rest_is_done(
    new_record: Callable[..., Record], tmp_path: Path
) -> None:
    record = new_record()
    for part in (FAILS, WORKS):
        record.add(part, attempt(part, SETTING, 60))
    saved = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert [each["state"] for each in saved.values()] == [FAILED, DONE]
    assert "ZeroDivisionError" in saved["fails"]["output"]
    assert "ZeroDivisionError" in (tmp_path / "gpu.md").read_text()


def test_what_takes_too_long_is_ended_with_all_that_it_started() -> None:
    begun = time.monotonic()
    assert attempt(HANGS, SETTING, 1)["state"] == CUT
    assert time.monotonic() - begun < 60
    left = [each for each in psutil.Process().children(recursive=True) if each.name() == "sleep"]
    assert not [each for each in left if each.status() != psutil.STATUS_ZOMBIE]


def test_the_next_call_does_what_is_left(new_record: Callable[..., Record]) -> None:
    record = new_record()
    record.add(WORKS, {"state": DONE, "seconds": 1.0})
    record.add(HANGS, {"state": CUT, "seconds": 1.0, "output": ""})
    resumed = new_record()
    assert resumed.left([WORKS, HANGS, FAILS]) == [FAILS, HANGS]  # what was never tried comes first
    now = time.monotonic()
    assert resumed.seconds_for(HANGS, now + 100) == 2 * HANGS.seconds
    assert resumed.seconds_for(FAILS, now + 10) is None


def test_results_of_another_setting_or_program_are_dropped(
    new_record: Callable[..., Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    new_record().add(WORKS, {"state": DONE, "seconds": 1.0})
    assert new_record().results
    assert not new_record(Setting("cpu", "float32", False, SETTING.model, SETTING.clip)).results
    monkeypatch.setattr(gpu, "program", lambda: "another")
    assert not new_record().results


def test_aims_stand_beside_the_results() -> None:
    rows = [
        {"what": "diffusers, float16", "seconds": 2.0},
        {
            "what": "vidx4, float16",
            "seconds": 1.0,
            "ratio": 2.0,
            "denoising_share": 0.4,
            "mean_different": 0.2,
        },
    ]
    results = {
        TESTS: {"state": DONE, "seconds": 60, "summary": "23 passed in 60.00s"},
        against_diffusers(320, 240): {"state": DONE, "seconds": 60, "tables": {"Equal": rows}},
    }
    record = {
        "date": "2026-01-01",
        "gpu": "A Card",
        "processor": "A Processor",
        "torch": "2.13",
        "version": "1.0",
        "identity": {"setting": ["cuda", "auto", False]},
        "parts": results,
    }
    lines = markdown(record).splitlines()
    verdicts = [line.split("|")[-2].strip() for line in lines if line.startswith("| ") and "aim" not in line]
    assert verdicts[:4] == ["reached", "reached", "**missed**", ""]


def test_no_gpu_is_said() -> None:
    arguments = type("Arguments", (), {"device": "cuda", "dtype": "auto", "small": False})
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit, match="--device cpu --small"):
            new_setting(arguments)  # type: ignore[arg-type]


def test_parts_are_commands_that_exist() -> None:
    names = [part.name for part in parts(SETTING)]
    assert len(names) == len(set(names))
    assert names[0] == TESTS
    for part in parts(SETTING):
        assert part.name == TESTS or part.result == f"bench_{part.command[1]}.json"


@pytest.mark.slow
def test_everything_runs_on_a_cpu_at_a_small_size(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scripts.bench", "gpu", "--device", "cpu", "--small", "--minutes", "30"]
    for _ in range(2):  # the second call finds everything done
        subprocess.run([*command, "--out", str(tmp_path)], cwd=ROOT, check=True)
    record = json.loads((tmp_path / "gpu.json").read_text())
    assert {part["state"] for part in record["parts"].values()} == {DONE}
    assert {part["num_tries"] for part in record["parts"].values()} == {1}
    assert all("tables" in part or "summary" in part for part in record["parts"].values())
    assert "At a tiny size" in (tmp_path / "gpu.md").read_text()
