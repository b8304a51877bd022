"""A file that ends the process does not end the batch."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from vidx4.errors import WorkerError
from vidx4.jobs.folder import journal, supervisor
from vidx4.jobs.folder.supervisor import STOPPED, Supervisor, command_for

ROOT = Path(__file__).parents[3]
PROLOGUE = """
import os, signal, sys, time
from pathlib import Path
from vidx4.jobs.folder.journal import supervised
from vidx4.jobs.folder.reports import FileReport, Outcome

def die(how=signal.SIGSEGV):
    os.kill(os.getpid(), how)
    time.sleep(60)

def work(journal, *names):
    for path in map(Path, names):
        report = journal.known(path)
        if report is None:
            with journal.at_work(path):
                if "bad" in path.name:
                    die()
            report = FileReport(path, Outcome.DONE)
        if not journal.is_told(report):
            print(ascii(path.name).strip("'"), report.outcome.value, report.message, flush=True)
            journal.tell(report)
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes die differently there")


def supervise(body: str, capfd: pytest.CaptureFixture[str]) -> tuple[int, list[str], list[str]]:
    """Return the exit code of a supervisor of a tiny program, the lines it prints, and the warnings."""
    warnings: list[str] = []
    command = [sys.executable, "-c", PROLOGUE + textwrap.dedent(body)]
    code = Supervisor(command, (), warnings.append).run()
    return code, capfd.readouterr().out.splitlines(), warnings


def test_the_batch_goes_on_without_a_file_that_ends_the_process(capfd: pytest.CaptureFixture[str]) -> None:
    body = """
    with supervised(()) as journal:
        work(journal, "a", "bad1", "b\\udcff", "bad2", "c")
    sys.exit(7)
    """
    code, lines, warnings = supervise(body, capfd)
    left_out = "failed It ended the process (segmentation fault): it is left out."
    assert lines == ["a done ", f"bad1 {left_out}", r"b\udcff done ", f"bad2 {left_out}", "c done "]
    assert ["bad1" in warnings[0], "bad2" in warnings[1], len(warnings)] == [True, True, 2]
    assert code == 7


def test_of_several_files_each_is_tried_alone(capfd: pytest.CaptureFixture[str]) -> None:
    body = """
    with supervised(()) as journal:
        if not any(journal.is_suspect(Path(name)) for name in "abc"):
            with journal.at_work(Path("a")), journal.at_work(Path("b")), journal.at_work(Path("bad")):
                die(signal.SIGABRT)
        print([name for name in ("a", "b", "bad", "c") if journal.is_suspect(Path(name))], flush=True)
        work(journal, "a", "b", "bad", "c")
    """
    code, lines, warnings = supervise(body, capfd)
    suspects = "['a', 'b', 'bad']"
    assert lines[:4] == [suspects, "a done ", "b done ", suspects]
    assert [line.split()[:2] for line in lines[4:]] == [["bad", "failed"], ["c", "done"]]
    assert "a, b, bad: each" in warnings[0]
    assert (code, len(warnings)) == (0, 2)


@pytest.mark.parametrize("end", ["die()", "die(signal.SIGKILL)"])
def test_a_process_that_dies_of_no_file_is_not_started_again(
    end: str, capfd: pytest.CaptureFixture[str]
) -> None:
    body = f"""
    with supervised(()) as journal:
        work(journal, "a")
        {end}
    """
    with pytest.raises(WorkerError, match="no file"):
        supervise(body, capfd)
    assert capfd.readouterr().out.splitlines() == ["a done "]


def test_a_library_that_exits_is_noticed(capfd: pytest.CaptureFixture[str]) -> None:
    body = """
    with supervised(()) as journal:
        work(journal, "a")
        if not journal.known(Path("b")):
            with journal.at_work(Path("b")):
                os._exit(0)
        work(journal, "b", "c")
    """
    code, lines, _ = supervise(body, capfd)
    assert [line.split()[:2] for line in lines] == [["a", "done"], ["b", "failed"], ["c", "done"]]
    assert code == 0


def test_a_device_that_fails_is_left_to_a_new_process(capfd: pytest.CaptureFixture[str]) -> None:
    body = """
    with supervised(()) as journal:
        if not journal.known(Path("b")):
            with journal.at_work(Path("b")):
                journal.give_up()
        work(journal, "b", "c")
    """
    code, lines, warnings = supervise(body, capfd)
    assert lines == ["b failed It ended the process (its device failed): it is left out.", "c done "]
    assert "its device failed" in warnings[0]
    assert code == 0


def test_a_file_that_has_changed_is_tried_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad").write_text("")
    body = f"""
    path = Path({str(tmp_path / "bad")!r})
    with supervised(()) as journal:
        if journal.known(path):
            path.write_text("mended")
            print(journal.known(path))
        else:
            work(journal, path)
    """
    assert supervise(body, capfd)[:2] == (0, ["None"])


def test_no_process_is_started_for_help_or_inside_another(monkeypatch: pytest.MonkeyPatch) -> None:
    assert command_for(["vidx4", "batch", "a", "b"])[-3:] == ["batch", "a", "b"]
    assert command_for(["vidx4", "batch", "--help"]) == []
    monkeypatch.setenv("VIDX4_SUPERVISOR", "5,6")
    assert command_for(["vidx4", "batch", "a", "b"]) == []


SUPERVISED = """
from vidx4.jobs.folder.supervisor import Supervisor
signals = (signal.SIGINT, signal.SIGTERM)
if sys.argv[1:]:
    num_stops = 0
    def stop(number, frame):
        global num_stops
        num_stops += 1
        print("stop", num_stops, flush=True)
    for each in signals:
        signal.signal(each, stop)
    with supervised(signals) as journal, journal.at_work(Path("a")):
        print(os.getpid(), flush=True)
        while num_stops < int(sys.argv[1]):
            time.sleep(0.01)
        time.sleep(0.5)
        print("end", num_stops, flush=True)
    sys.exit(9)
command = [sys.executable, __file__, os.environ["NUM_STOPS"]]
sys.exit(Supervisor(command, signals, print).run())
"""

Start = Callable[[int], "tuple[subprocess.Popen[str], int]"]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Return a function that starts a supervisor in its own group, and gives its process's number, too."""
    script = tmp_path / "script.py"
    script.write_text(PROLOGUE + SUPERVISED)

    def started(num_stops: int) -> "tuple[subprocess.Popen[str], int]":
        environment = {**os.environ, "NUM_STOPS": str(num_stops), "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, script],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
        assert process.stdout is not None
        return process, int(process.stdout.readline())

    return started


def send_to_group(process: "subprocess.Popen[str]") -> None:
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does


def send_to_supervisor(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize("send", [send_to_group, send_to_supervisor])
@pytest.mark.parametrize("num_stops", [1, 2])
def test_every_signal_counts_once(
    send: "Callable[[subprocess.Popen[str]], None]", num_stops: int, start: Start
) -> None:
    process, _ = start(num_stops)
    assert process.stdout is not None
    lines = []
    for _ in range(num_stops):
        send(process)
        lines.append(process.stdout.readline())
    output, _ = process.communicate(timeout=60)
    assert lines == [f"stop {number}\n" for number in range(1, num_stops + 1)]
    assert output == f"end {num_stops}\n"
    assert process.returncode == 9  # nothing was started again


def test_a_process_that_does_not_stop_is_killed(start: Start) -> None:
    process, number = start(99)
    assert process.stdout is not None
    for _ in range(2):
        send_to_supervisor(process)
        process.stdout.readline()
    send_to_supervisor(process)
    process.communicate(timeout=60)
    assert process.returncode == STOPPED
    assert not is_alive(number)


def test_the_work_stops_when_the_supervisor_is_killed(start: Start) -> None:
    process, _ = start(1)
    process.kill()
    output, _ = process.communicate(timeout=60)
    assert output == "stop 1\nend 1\n"


def is_alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


KILLER = """
import os, signal, sys

def watch(event, arguments):
    if event == "open" and str(arguments[0]).endswith("killer.png"):
        os.kill(os.getpid(), signal.SIGSEGV)

sys.addaudithook(watch)
"""
"""Runs whenever Python starts, and makes a name do what a flaw in a library would do."""


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_a_folder_with_a_file_that_ends_the_process(flags: tuple[str, ...], tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("a.png", "killer.png", "z.png"):
        Image.new("RGB", (8, 6), "red").save(folder / name)
        os.utime(folder / name, (1e9, 1e9))
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(KILLER)
    (tmp_path / "cwd").mkdir()
    (tmp_path / "cwd" / "typer.py").write_text("raise SystemExit('the current folder was searched')")
    report = tmp_path / "report.json"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{ROOT}"}
    program = shutil.which("vidx4", path=str(Path(sys.executable).parent))
    more = ("--settled-after", "0", "--report", str(report))
    command = ["batch", str(folder), str(out), "--device", "cpu", "--json", *more, *flags]
    start = [program] if program else [sys.executable, "-P", "-m", "vidx4"]
    result = subprocess.run(
        [*start, *command], capture_output=True, text=True, env=environment, cwd=tmp_path / "cwd"
    )
    assert result.returncode == 1, result.stderr
    events = [json.loads(line) for line in result.stdout.splitlines()]
    kinds = [event["event"] for event in events]
    (warning,) = (event["message"] for event in events if event["event"] == "warning")
    assert "segmentation fault" in warning
    assert str(folder / "killer.png") in warning
    looks = {Path(each["path"]).name: each["status"] for each in events[kinds.index("plan")]["files"]}
    assert looks == {"a.png": "to do", "killer.png": "failed", "z.png": "to do"}
    if not flags:
        assert (events[-1]["done"], events[-1]["failed"]) == (2, 1)
        assert sorted(path.name for path in out.glob("*.png")) == ["a_x4.png", "z_x4.png"]
        assert json.loads(report.read_text())["num_files"]["failed"] == 1


def test_signals_that_pause_are_always_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if as many have come to the process itself, as from a user who tried both."""
    passed: list[int] = []
    monkeypatch.setattr(journal, "_interrupt", passed.append)
    monkeypatch.setattr("vidx4.jobs.folder.journal.time.sleep", lambda _: None)
    monkeypatch.setattr("vidx4.jobs.folder.journal.os._exit", lambda _: None)
    orders = [b"%d\n" % each for each in (signal.SIGUSR1, signal.SIGINT, signal.SIGUSR2)]
    journal._heed(orders, lambda: 1, frozenset({signal.SIGINT}))
    assert passed == [signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM]


def test_how_a_process_died_on_windows_is_told_by_its_known_number() -> None:
    assert supervisor._how(0xC0000005) == "exit code 0xc0000005"
    assert supervisor._how(3) == "exit code 3"
