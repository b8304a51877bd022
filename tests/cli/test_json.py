"""Whatever a command does and however it ends, each line of `--json` is an event that fits the schema."""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.capabilities import needs_signals
from tests.conftest import MakeVideo
from tests.video_files import write_video
from vidx4.cli import commands, inspect
from vidx4.cli.terminal import EVENTS_VERSION
from vidx4.errors import DiskFullError
from vidx4.jobs import estimate
from vidx4.printing import to_json

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"
FAST = ("--encoder-preset", "ultrafast", "--device", "cpu")

Event = dict[str, Any]


def vidx4(*arguments: object) -> Result:
    return CliRunner().invoke(commands.app, [*map(str, arguments), "--json"])


@cache
def kinds() -> list[Event]:
    schema: Event = json.loads((ROOT / "docs" / "events.schema.json").read_text())
    return list(schema["anyOf"])


def checked(printed: str, exit_code: int) -> list[Event]:
    """Return the events of a command, after checking each, and that exactly the last one is an end."""
    validate = import_module("jsonschema").validate
    events: list[Event] = [json.loads(line, parse_constant=pytest.fail) for line in printed.splitlines()]
    for each in events:
        validate(each, {"anyOf": [k for k in kinds() if k["properties"]["event"]["const"] == each["event"]]})
    assert [each.get("version") for each in events] == [EVENTS_VERSION, *[None] * (len(events) - 1)]
    ends = [each["event"] for each in events if each["event"] in ("done", "error")]
    assert ends == [events[-1]["event"]]
    assert events[-1]["exit_code"] == exit_code
    return events


def events_of(*arguments: object, code: int = 0) -> list[Event]:
    """Return the checked events of a command that ends with an exit code."""
    result = vidx4(*arguments)
    assert result.exit_code == code, result.output
    return checked(result.stdout, code)


def names(events: Sequence[Event]) -> list[str]:
    return list(dict.fromkeys(each["event"] for each in events))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a video, and another file that looks like one."""
    folder = tmp_path / "in"
    folder.mkdir()
    write_video(folder / "good.mp4", num_frames=2, width=32, height=24)
    (folder / "notes.txt").write_text("no film")
    return folder


def test_upscale_of_a_video(make_video: MakeVideo, tmp_path: Path) -> None:
    typed = ("upscale", make_video(num_frames=3), tmp_path / "out.mp4", *FAST)
    trial = events_of(*typed, "--dry-run")
    assert names(trial)[-2:] == ["estimate", "done"]
    assert Path(trial[-1]["work_folder"]).is_dir()
    done = events_of(*typed)[-1]
    assert (done["num_frames"], done["num_new"], done["output"]) == (3, 0, str(tmp_path / "out.mp4"))
    assert done["settings"]["noise-level"] == done["noise_level"] == trial[-2]["noise_level"]
    assert {"model", "weights", "texture", "seed", "codec"} <= done["settings"].keys()
    assert events_of(*typed, code=1)[-1]["event"] == "error"


def test_a_job_that_fails_and_is_resumed(make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise DiskFullError("full")

    source = make_video(num_frames=9)
    with monkeypatch.context() as patched:
        patched.setattr(estimate, "check_disk", full)
        error = events_of("upscale", source, *FAST, code=1)[-1]
    assert error["command"].startswith("vidx4 upscale")
    assert events_of("upscale", source, *FAST)[-1]["num_frames"] == 9


def test_upscale_of_a_picture(tmp_path: Path) -> None:
    done = events_of("upscale", SAMPLES / "photo.png", tmp_path / "big.png", "--device", "cpu")[-1]
    assert done["output"] == str(tmp_path / "big.png")
    assert done["noise_level"] == done["estimated_noise_level"] is not None
    assert done["seconds"] > 0


def test_batch(folder: Path, tmp_path: Path) -> None:
    typed = ("batch", folder, tmp_path / "out", *FAST, "--settled-after", 0)
    assert names(events_of(*typed, "--dry-run")) == ["passed_over", "plan", "done"]
    done = events_of(*typed)
    assert {"passed_over", "plan", "estimate", "progress", "part", "file", "done"} <= set(names(done))
    file = next(each for each in done if each["event"] == "file")
    assert file["noise_level"] == file["estimated_noise_level"] is not None
    assert (done[-1]["done"], done[-1]["passed_over"]) == (1, 1)
    (folder / "bad.mp4").write_text("no film")
    assert events_of(*typed, "--dry-run", code=1)[-1]["failed"] == 1
    again = events_of(*typed, code=1)[-1]
    assert (again["event"], again["skipped"], again["failed"]) == ("done", 1, 1)
    assert events_of("batch", folder, tmp_path / "out", "--include", "*.avi", code=2)[-1]["event"] == "error"


def process_of(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "vidx4", *map(str, arguments), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stopped_after(event: str, *arguments: object) -> tuple[str, int]:
    """Return what a command prints that is sent a signal after its first event of a kind, and its code."""
    lines = []
    with process_of(*arguments) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if f'"event": "{event}"' in line:
                process.send_signal(signal.SIGTERM)
                break
        rest, errors = process.communicate(timeout=300)
    assert "Traceback" not in errors
    return "".join(lines) + rest, process.returncode


@needs_signals
@pytest.mark.slow
def test_commands_that_are_stopped(folder: Path, tmp_path: Path) -> None:
    write_video(folder / "long.mp4", num_frames=300, width=160, height=120)
    single = stopped_after("part", "upscale", folder / "long.mp4", tmp_path / "big.mp4", *FAST)
    assert "command" in checked(*single)[-1]
    assert single[1] == 130
    several = stopped_after("file", "batch", folder, tmp_path / "out", *FAST, "--settled-after", 0)
    assert checked(*several)[-1]["event"] == "error"
    assert several[1] == 130
    (folder / "long.mp4").unlink()
    watched = stopped_after("file", "batch", folder, tmp_path / "other", "--watch", *FAST)
    assert (checked(*watched)[-1]["event"], watched[1]) == ("done", 0)


def test_preview_and_sweep(make_video: MakeVideo) -> None:
    source = make_video(num_frames=30)
    shown = ("--samples", 1, "--duration", "0.1", *FAST)
    assert len(events_of("preview", source, *shown)[-1]["costs"]) == 1
    swept = events_of("preview", source, *shown, "--sweep", "noise-level=0,20", "-y")
    assert len(swept[-1]["costs"]) == 2
    assert {"plan", "progress"} <= set(names(swept))


def test_verify_and_compare(make_video: MakeVideo, tmp_path: Path) -> None:
    source, output = make_video(num_frames=5), tmp_path / "big.mp4"
    events_of("upscale", source, output, *FAST)
    kept = events_of("verify", source, output)
    assert names(kept) == ["check", "done"]
    assert kept[-1]["num_lost"] == 0
    lost = events_of("verify", make_video("other.mp4", num_frames=6), output, code=1)[-1]
    assert (lost["event"], lost["num_lost"] > 0) == ("done", True)
    assert events_of("compare", source, output)[-1]["output"].endswith("big_crops.png")


def test_probe_gives_numbers_as_numbers() -> None:
    source, done = events_of("probe", SAMPLES / "nasa.mp4")
    assert (source["width"], source["frame_rate"], source["num_frames"]) == (480, "30000/1001", 127)
    assert source["duration"] == pytest.approx(127 * 1001 / 30000, abs=1e-3)
    assert [stream["kind"] for stream in source["streams"]].count("subtitle") == 2
    assert set(done) == {"event", "time", "exit_code"}


@pytest.mark.parametrize("sample", ["bear.webm", "london.mp4", "signer.mkv"])
def test_probe_of_other_containers(sample: str) -> None:
    assert events_of("probe", SAMPLES / sample)[0]["path"].endswith(sample)


def test_models_and_doctor() -> None:
    models = events_of("models")
    assert [each["name"] for each in models[:-1]] == ["compact", "sd-x4", "stream-diffvsr"]
    findings = events_of("doctor")
    assert findings[-1]["num_findings"] == len(findings) - 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("upscale",),
        ("upscale", "missing.mp4"),
        ("upscale", SAMPLES / "london.mp4", "--crf", "low"),
        ("upscale", SAMPLES / "london.mp4", "--speed"),
        ("upscale", SAMPLES / "london.mp4", "-q", "-v"),
        ("upscale", SAMPLES / "london.mp4", "--prompt", "a", "--model", "compact"),
        ("probe", "a", "b"),
        ("probe", "--nonsense"),
        ("batch", "nowhere", "out"),
        ("batch", SAMPLES),
        ("preview", SAMPLES / "london.mp4", "--at", "99"),
        ("teleport",),
        (),
    ],
)
def test_errors_of_usage(
    arguments: Sequence[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert events_of(*arguments, code=2)[-1]["event"] == "error"


def test_a_file_called_like_the_option_is_none() -> None:
    result = CliRunner().invoke(commands.app, ["probe", "--", "--json"])
    assert (result.exit_code, result.stdout) == (2, "")


def test_a_bug_is_an_event_and_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(inspect, "show_models", fail)
    result = vidx4("models")
    assert isinstance(result.exception, ZeroDivisionError)
    (error,) = checked(result.stdout, 1)
    assert "oops" in error["message"]
    assert "bug" in error["message"]


def test_a_bug_keeps_its_traceback_on_standard_error() -> None:
    code = (
        "import sys; sys.argv = ['vidx4', 'models', '--json']\n"
        "from vidx4.cli import commands, inspect\n"
        "inspect.show_models = lambda *_: 1 / 0\n"
        "commands.main()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 1
    checked(ended.stdout, 1)
    assert "ZeroDivisionError" in ended.stderr.splitlines()[-1]


def test_no_number_is_one_that_json_lacks() -> None:
    facts = {"a": float("nan"), "b": [float("inf"), 1.5], "c": ({"d": -float("inf")},), "e": Path("x")}
    assert json.loads(to_json(facts)) == {"a": None, "b": [None, 1.5], "c": [{"d": None}], "e": "x"}
