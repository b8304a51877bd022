"""Nobody has to read what is printed: closed, full or narrow, it ends no work and shows no traceback."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.video_files import write_video

SAMPLES = Path(__file__).parents[2] / "samples"
FAST = ("--device", "cpu", "--encoder-preset", "ultrafast")
ENDINGS = [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", "2>/dev/full", ">/dev/full 2>&1"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full and a shell")


def shell(*arguments: object, ending: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program in a shell, with its standard streams changed; the exit code is the program's."""
    typed = ["bash", "-c", f'"$@" {ending}; exit ${{PIPESTATUS[0]}}', "bash"]
    command = [*typed, sys.executable, "-m", "vidx4", *map(str, arguments)]
    changed = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, env=changed, timeout=300, encoding="utf-8")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    write_video(tmp_path / "clip.mp4", num_frames=6, width=32, height=24)
    return tmp_path / "clip.mp4"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "flags"),
    [
        ("<&- >&- 2>&-", ()),
        (">/dev/full 2>&1", ()),
        (">/dev/full", ("--json",)),
        ("| head -c 1", ("--json",)),
        ("2>&1 | head -c 1", ()),
    ],
)
def test_a_job_goes_on_though_nobody_reads(ending: str, flags: tuple[str, ...], clip: Path) -> None:
    ended = shell("upscale", clip, *FAST, *flags, ending=ending)
    assert ended.returncode == 0
    assert "Traceback" not in ended.stderr
    assert clip.with_name("clip_x4.mp4").is_file()


@pytest.mark.parametrize("command", [("probe", SAMPLES / "bear.webm"), ("--help",)], ids=str)
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_result_that_is_only_printed_has_to_arrive(ending: str, command: tuple[object, ...]) -> None:
    ended = shell(*command, ending=ending)
    assert ended.returncode == (1 if ending.startswith(">/dev/full") else 0)
    assert "Traceback" not in ended.stderr


def test_what_libraries_print_goes_into_no_file_of_the_user(clip: Path) -> None:
    """Without a standard error, the next file that is opened would get its number."""
    code = (
        "import os\nfrom vidx4.printing import protect_terminal\n"
        "protect_terminal()\n"
        f"file = open({str(clip)!r}, 'r+b')\n"
        "os.write(2, b'a warning')"
    )
    before = clip.read_bytes()
    command = ["bash", "-c", '"$@" >&- 2>&-', "bash", sys.executable, "-c", code]
    subprocess.run(command, check=True, timeout=300)
    assert clip.read_bytes() == before


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"TERM": "dumb"},
        {"TERM": ""},
        {"NO_COLOR": "1"},
        {"COLUMNS": "20"},
    ],
    ids=lambda environment: next(iter(environment)),
)
def test_any_encoding_and_terminal_will_do(environment: dict[str, str], tmp_path: Path) -> None:
    source = tmp_path / "漢é.mp4"
    write_video(source, num_frames=2, width=32, height=24)
    for arguments in (("probe", source), ("verify", source, "漢"), ("--help",)):
        ended = shell(*arguments, **environment)
        assert ended.returncode == (2 if arguments[0] == "verify" else 0), ended.stderr
        assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("columns", [40, 80])
def test_probe_breaks_no_word(columns: int) -> None:
    command = [sys.executable, "-m", "vidx4", "probe", "nasa.mp4"]
    environment = {**os.environ, "COLUMNS": str(columns), "PYTHONPATH": os.pathsep.join(sys.path)}
    printed = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=SAMPLES, check=True, timeout=300
    ).stdout
    assert max(map(len, printed.splitlines())) <= columns
    words = {word.strip(",") for word in printed.split()}
    assert {"yuv420p", "subtitle", "mov_text", "480x270", "progressive", "1/30000", "default"} <= words


def test_lines_that_a_program_reads_are_not_broken() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    command = [sys.executable, "-m", "vidx4", "models"]
    printed = subprocess.run(
        command, capture_output=True, text=True, env=environment, check=True, timeout=300
    )
    assert [line.split()[0] for line in printed.stdout.splitlines()] == [
        "model",
        "compact",
        "sd-x4",
        "stream-diffvsr",
    ]


@pytest.mark.slow
def test_a_terminal_that_closes_leaves_a_job_that_resumes(tmp_path: Path) -> None:
    """It sends a hangup, and whatever is printed afterwards fails."""
    import pty

    source, output = tmp_path / "long.mp4", tmp_path / "big.mp4"
    write_video(source, num_frames=200, width=96, height=64)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "vidx4", "upscale", str(source), str(output), *FAST]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        seen = b""
        while b"time " not in seen:
            seen += os.read(ours, 4096)
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=300) == 130
    assert any((tmp_path / "big.mp4.vidx4").glob("*.nut"))


@pytest.mark.parametrize("command", [("models",), ("doctor",), ("upscale", "clip.mp4", "--model", "a/b")])
def test_no_home_is_needed(command: tuple[str, ...], clip: Path) -> None:
    """Neither HOME nor an entry among the users tells where a cache would be."""
    code = (
        "import os, pwd, sys\n"
        "def unknown(uid): raise KeyError(uid)\n"
        "pwd.getpwuid = unknown\n"
        f"sys.argv = ['vidx4', *{command!r}]\n"
        "from vidx4.cli.commands import main\nmain()"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    run = [sys.executable, "-c", code]
    ended = subprocess.run(run, capture_output=True, text=True, env=environment, cwd=clip.parent, timeout=300)
    assert "Traceback" not in ended.stderr
    if command[0] == "upscale":
        assert ended.returncode == 1
        assert "HF_HOME" in ended.stderr
    else:
        assert ended.returncode == 0
