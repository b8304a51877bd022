"""Whatever is in a name, a title or a message, it controls no terminal, and ordinary text stays as it is."""

import random
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from rich.console import Console

from vidx4.cli.options import TerminalOptions
from vidx4.cli.progress_bar import bar
from vidx4.cli.terminal import Terminal
from vidx4.errors import Vidx4Error
from vidx4.jobs.progress import Control
from vidx4.printing import VisibleStream, printable, quoted

HOSTILE = [
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA0)),
    *"\u202a\u202e\u2066\u2069\u200f\ufeff\u2028",
]
HOSTILE += [
    "\udc9b",
    "\udcff",
    "\ud800",
    "\x1b[31m",
    "\x1b]0;title\x07",
    "\x9b2J",
    "[red]",
    ":warning:",
    "\\",
    "'",
]
ORDINARY = ["a", " ", "é", "漢", "\u3000", "\u00a0", "👩‍👩‍👧", "❤️", "🫨", "ש", "[b]"]
UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def hostile_texts() -> list[str]:
    """Return names of random characters, both hostile and ordinary."""
    random.seed(0)
    return ["".join(random.choices(HOSTILE + ORDINARY, k=random.randint(1, 12))) for _ in range(60)]


def controls(text: str) -> set[str]:
    """Return the characters of a text that could control a terminal, but for line breaks and joiners."""
    return {each for each in text if unicodedata.category(each) in UNSEEN} - set("\n\u200d")


def test_ordinary_text_stays_as_it_is() -> None:
    assert printable("".join(ORDINARY)) == "".join(ORDINARY)
    assert printable("a\x1b[31m\n\x9b\u202e\udcff") == "a\\x1b[31m\\n\\x9b\\u202e\\udcff"


@pytest.mark.parametrize("json", [False, True])
def test_no_way_to_print_a_name_controls_the_terminal(json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(TerminalOptions(json=json), "vidx4")
    for text in hostile_texts():
        error = Vidx4Error(text)
        error.add_note(text)
        terminal.say(text)
        terminal.fact("source", text)
        terminal.warn(text)
        terminal.note(text)
        terminal.failure(error)
        terminal.table([text], [[text]])
        name = re.sub("[\udc80-\udcff]", "", text)  # such bytes stay as they are if a program reads them
        terminal.done(name, title=text)
        terminal.results(name)
        with terminal.working(text) as control:
            assert isinstance(control, Control)
    printed = capsys.readouterr()
    assert not controls(printed.out + printed.err)


def test_a_progress_bar_shows_names_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(stderr=True, force_terminal=True, color_system=None, width=500)
    for text in [":warning: [b]", *hostile_texts()[:20]]:
        with bar(console, text):
            pass
        shown = capsys.readouterr().err
        assert not controls(re.sub(r"\x1b\[[?\d;]*[A-Za-z]|\r", "", shown))
        assert printable(text).strip() in shown


def test_warnings_and_tracebacks_are_visible(capsys: pytest.CaptureFixture[str]) -> None:
    stream = VisibleStream(sys.stderr)
    for text in hostile_texts():
        assert stream.write(f"{text}\nnext\n") == len(text) + 6
    printed = capsys.readouterr().err
    assert not controls(printed)
    assert printed.count("\nnext\n") == 60


@pytest.mark.parametrize("name", ["a b", "it's", "a\nb", "\x1b[31m'\\x", "na\udce9", "é\x9b漢", "-"])
def test_a_quoted_name_means_the_same_to_a_shell(name: str) -> None:
    printed = subprocess.run(["bash", "-c", f"printf %s {quoted(name)}"], capture_output=True, check=True)
    assert printed.stdout.decode(errors="surrogateescape") == name
    assert not controls(quoted(name))


@pytest.mark.parametrize(
    ("name", "word"),
    [
        (r"C:\films\film.mp4", r"C:\films\film.mp4"),
        (r"C:\my films\film.mp4", r'"C:\my films\film.mp4"'),
        ("this & that.mp4", '"this & that.mp4"'),
        ("D:\\my films\\", '"D:\\my films\\\\"'),
        (r'a "b" c', r'"a \"b\" c"'),
        ("--stop=0.1", "--stop=0.1"),
        ("", '""'),
    ],
)
def test_a_name_is_quoted_as_windows_reads_it(name: str, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    assert quoted(name) == word


def vidx4(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "vidx4", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, env={**environment, "PATH": "/usr/bin:/bin"}, timeout=300
    )


def test_a_program_reads_the_bytes_of_a_name_that_is_no_text() -> None:
    code = (
        "from vidx4.cli.terminal import Terminal, TerminalOptions\n"
        "from vidx4.printing import protect_terminal\n"
        "protect_terminal()\nTerminal(TerminalOptions()).results('na\\udce9', 'na\\udce9\\x1b')"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=300)
    assert printed.stdout == b"na\xe9\n$'na\\xe9\\x1b'\n"


def test_an_encoding_without_the_characters_of_a_name_is_no_error(tmp_path: Path) -> None:
    missing = tmp_path / "漢\x1b[31m.mkv"
    printed = vidx4("probe", missing, PYTHONIOENCODING="ascii")
    assert printed.returncode == 2
    assert b"\\u6f22\\x1b[31m.mkv" in printed.stderr
    assert b"Traceback" not in printed.stderr


def test_a_closed_output_is_no_error() -> None:
    command = f"{sys.executable} -m vidx4 models"
    for ending in (">&-", ">&- 2>&-", "| true"):
        printed = subprocess.run(["bash", "-c", f"{command} {ending}"], capture_output=True, timeout=300)
        assert printed.stderr == b""
