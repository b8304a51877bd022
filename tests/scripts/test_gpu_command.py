"""scripts/gpu: parts that fail or take too long are recorded, and the next call resumes."""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from scripts.bench import gpu, gpu_inputs
from scripts.bench.__main__ import main
from scripts.bench.gpu import CUT, DONE, FAILED, ROOT, STOPPED, Record, attempt, new_setting
from scripts.bench.gpu_parts import INPUTS, TESTS, Part, Setting, against_diffusers, parts
from scripts.bench.gpu_report import AIMS, markdown

SETTING = Setting("cpu", "auto", is_small=False, model=Path("model"), clip=Path("clip.mp4"))
WORKS = Part("works", 60, ("timeit", "-n1", "-r1", "print('fine')"))
FAILS = Part("fails", 60, ("timeit", "-n1", "-r1", "1/0"))
STOPS = Part(
    "stops",
    60,
    (
        *("timeit", "-n1", "-r1", "-s", "import os, signal, subprocess"),
        "os.kill(os.getppid(), signal.SIGINT); subprocess.run(['sleep', '600'])",
    ),
)
"""Does what Ctrl-C does, while it runs."""
HANGS = Part("hangs", 0.25, ("timeit", "-n1", "-r1", "import subprocess; subprocess.run(['sleep', '600'])"))


def assert_nothing_sleeps() -> None:
    sleeping = [each for each in psutil.Process().children(recursive=True) if each.name() == "sleep"]
    assert not [each for each in sleeping if each.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Return a function that runs parts as the command does, and returns the exit code."""

    def run(*wanted: Part, minutes: float = 10) -> int:
        monkeypatch.setattr(gpu, "parts", lambda _: wanted)
        arguments = argparse.Namespace(
            device="cpu", dtype="auto", small=True, minutes=minutes, out=tmp_path / "out"
        )
        with pytest.raises(SystemExit) as end:
            gpu.run(arguments)
        return int(str(end.value.code))

    return run


@pytest.fixture
def new_record(tmp_path: Path) -> Callable[..., Record]:
    """Return a function that opens the record as a call of the command does."""
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
    assert_nothing_sleeps()


def test_the_next_call_does_what_is_left(new_record: Callable[..., Record]) -> None:
    record = new_record()
    record.add(WORKS, {"state": DONE, "seconds": 1.0})
    record.add(HANGS, {"state": CUT, "seconds": 1.0, "output": ""})
    resumed = new_record()
    assert resumed.left([WORKS, HANGS, FAILS]) == [FAILS, HANGS]  # what was never tried comes first
    assert resumed.most_seconds(HANGS) == 2 * HANGS.seconds


def test_ctrl_c_ends_all_and_the_next_call_resumes(
    call: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call(WORKS, STOPS, FAILS) == 130
    assert_nothing_sleeps()
    saved = json.loads((tmp_path / "out" / "gpu.json").read_text())["parts"]
    assert {name: part["state"] for name, part in saved.items()} == {"works": DONE, "stops": STOPPED}
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert "again with the same arguments to resume" in error
    assert call(WORKS, replace(STOPS, command=WORKS.command)) == 0


def test_ctrl_c_while_a_benchmark_is_imported_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("scripts.bench.__main__.import_module", interrupted)
    monkeypatch.setattr(sys, "argv", ["bench", "gpu"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130


def test_missing_parts_are_named_and_told_by_the_exit_code(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(WORKS, HANGS) == 75
    assert "1 of 2 parts are missing (hangs)" in capsys.readouterr().out
    assert call(FAILS, HANGS) == 1
    assert call(WORKS) == 0


def test_a_part_for_which_the_time_is_too_short_is_not_started(
    call: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(WORKS, minutes=0.4) == 75  # it needs half a minute
    assert "works: left for the next call" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_a_part_that_was_cut_gets_more_time_than_it_had(new_record: Callable[..., Record]) -> None:
    record = new_record()
    record.add(WORKS, {"state": CUT, "seconds": 60.0, "output": ""})
    assert record.least_seconds(WORKS, is_first=False) == 60
    assert record.least_seconds(WORKS, is_first=True) == 30  # there is no more to be had in this call
    assert record.most_seconds(WORKS) == 120
    assert new_record(replace(SETTING, is_small=True)).most_seconds(WORKS) == 240  # a busy CPU takes long


def test_what_parts_need_is_made_first_within_the_time_of_a_part(
    call: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "made"
    makes = Part("makes", 60, ("pathlib",), makes=(made,))
    touch = replace(makes, command=("timeit", "-n1", "-r1", f"open({str(made)!r}, 'w').close()"))
    needs = replace(WORKS, name="needs", needs=(made,))
    assert call(replace(makes, command=FAILS.command), needs) == 1
    assert "needs: left, as what it needs is not made yet" in capsys.readouterr().out
    assert call(touch, needs) == 0
    made.unlink()
    assert call(touch, needs) == 0
    assert made.exists()  # it was made again, though the part was done


def test_the_inputs_of_a_small_setting_appear_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, clip = tmp_path / "model", tmp_path / "inputs" / "clip.mp4"
    model.mkdir()  # making one takes seconds
    monkeypatch.setattr(sys, "argv", ["inputs", "--model", str(model), "--clip", str(clip), "--small"])
    gpu_inputs.main()
    assert [path.name for path in clip.parent.iterdir()] == ["clip.mp4"]
    clip.unlink()
    monkeypatch.setattr(sys, "argv", sys.argv[:-1])
    with pytest.raises(SystemExit, match="missing"):
        gpu_inputs.main()


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
    verdicts = [cells[2] for cells in aims(markdown(new_report(results)))]
    assert verdicts == ["reached", "reached", "**missed**", ""]


def new_report(results: dict[str, Any], gpu: str | None = "A Card") -> dict[str, Any]:
    return {
        "date": "2026-01-01",
        "gpu": gpu,
        "processor": "A Processor",
        "torch": "2.13",
        "version": "1.0",
        "identity": {"setting": ["cuda" if gpu else "cpu", "auto", False]},
        "parts": results,
    }


def aims(text: str) -> list[list[str]]:
    """Return the cells of the lines about aims."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[1 : 1 + len(AIMS)]]


@pytest.mark.parametrize(
    ("result", "text", "verdict"),
    [
        ({"state": DONE, "summary": "27 skipped in 0.18s"}, "not run here: no GPU", ""),
        ({"state": DONE, "summary": "26 passed, 1 skipped in 9s"}, "26 passed, 1 skipped in 9s", "reached"),
        ({"state": FAILED, "summary": "1 failed in 9s", "output": "E"}, "1 failed in 9s", "**missed**"),
        ({"state": CUT, "output": "..."}, "not measured", ""),
    ],
)
def test_tests_that_did_not_run_reach_no_aim(result: dict[str, Any], text: str, verdict: str) -> None:
    first, *_ = aims(markdown(new_report({TESTS: {"seconds": 1.0, **result}})))
    assert first[1:] == [text, verdict]


def test_the_title_names_the_device() -> None:
    assert markdown(new_report({})).startswith("## On a GPU: A Card\n")
    assert markdown(new_report({}, gpu=None)).startswith("## On a CPU: A Processor\n")


def test_what_has_nothing_to_show_shows_no_empty_block() -> None:
    text = markdown(
        new_report(
            {
                "made": {"state": DONE, "seconds": 1.0, "summary": ""},
                "short": {"state": CUT, "seconds": 7.0, "output": "\n"},
            }
        )
    )
    assert "```" not in text
    assert "made" not in text
    assert "### short\n\n**cut** after 7 s.\n" in text


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
        assert part.name in (TESTS, INPUTS) or part.result == f"bench_{part.command[1]}.json"


def test_each_size_and_comparison_of_the_denoiser_is_a_part_of_its_own() -> None:
    compared = [part.command for part in parts(SETTING) if "denoiser" in part.command]
    values = [
        [command[command.index(option) + 1 :] for option in ("--sizes", "--compare")] for command in compared
    ]
    assert all(after[1].startswith("--") for each in values for after in each)  # one value each
    assert against_diffusers(640, 480) in [part.name for part in parts(SETTING)]
    assert against_diffusers(320, 180, "defaults") in [part.name for part in parts(SETTING)]


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
