"""A folder's own file of options: it decides on picture and output only, unless the user trusts it."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from tests.capabilities import needs_links, needs_pipes, needs_proc
from vidx4.cli.commands import app
from vidx4.errors import OptionError
from vidx4.jobs.folder.options import file_options
from vidx4.jobs.folder.overrides import Overrides

HARMLESS = {
    *("audio", "bit-depth", "cache-interval", "codec", "color-fix", "consistency", "crf", "deinterlace"),
    *(
        "encoder-preset",
        "guidance-scale",
        "guidance-stop",
        "height",
        "inverse-telecine",
        "negative-prompt",
        "noise-level",
    ),
    *(
        "pixel-format",
        "prompt",
        "quality",
        "recall",
        "reuse-threshold",
        "scheduler",
        "seed",
        "speed",
        "steps",
    ),
    *("strength", "subtitles", "temporal", "texture", "video-stream", "width"),
}
"""Options that a folder of unknown origin may set; a new one needs a thought on what it could do."""

TOML = """
seed = 3
noise-level = 10

[files."deep er/*"]
seed = 4
codec = "hevc"
encoder-option = ["x265-params=bframes=0"]
max-memory = "6GB"

[files."*dash*"]
seed = 5
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "deep er").mkdir(parents=True)
    for name in ("same.png", "deep er/photo.png", "deep er/-dash.png"):
        Image.new("RGB", (8, 6), "red").save(folder / name)
    return folder


def dry_run(folder: Path, *flags: object) -> Result:
    command = ["batch", folder, folder.parent / "out", "--device", "cpu", "--dry-run", "--json", *flags]
    return CliRunner().invoke(app, list(map(str, command)))


def sentence(result: Result) -> str:
    """Return the message of a command that fails with one."""
    event = json.loads(result.stdout)
    assert (result.exit_code, event["event"]) == (2, "error"), result.output
    assert len(event["message"]) < 1500
    assert event["message"].isprintable()
    return str(event["message"])


def test_what_a_folder_may_set_is_a_closed_list() -> None:
    assert {key for key, each in file_options().items() if each.option.is_harmless} == HARMLESS


def test_options_come_from_a_file_in_the_folder(folder: Path) -> None:
    (folder / "vidx4.toml").write_text(TOML)
    result = dry_run(folder, "--noise-level", 20, "--trust-folder")
    events = map(json.loads, result.stdout.splitlines())
    files = next(each["files"] for each in events if each["event"] == "plan")
    notes = {Path(each["path"]).name: set(each["notes"].split()) for each in files}
    common = {"--noise-level=20", "--device=cpu"}
    assert notes["same.png"] == {"--seed=3", *common}
    deep = {"--codec=hevc", "--encoder-option=x265-params=bframes=0", "--max-memory=6GB", *common}
    assert notes["photo.png"] == {"--seed=4", *deep}
    assert notes["-dash.png"] == {"--seed=5", *deep}


@pytest.mark.parametrize("key", sorted({*file_options()} - HARMLESS))
@pytest.mark.parametrize("place", ["", '[files."nothing like it"]\n'])
def test_a_folder_decides_on_nothing_else_unless_it_is_trusted(key: str, place: str, folder: Path) -> None:
    value = '["g=12"]' if key == "encoder-option" else "8" if key == "batch-size" else '"auto"'
    (folder / "vidx4.toml").write_text(f"{place}{key} = {value}")
    message = sentence(dry_run(folder))
    assert str(folder / "vidx4.toml") in message
    assert f" {key} " in message
    assert "vidx4 batch --trust-folder" in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("steps = ", "vidx4.toml"),
        ("mood = 1", "'mood'"),
        ("steps = 'many'", "'many'"),
        ("steps = true", "steps"),
        ("steps = '20'", "'20'"),
        ("prompt = 5", "prompt"),
        ("codec = 'cinepak'", "'cinepak'"),
        ("encoder-option = 'g=12'", "encoder-option"),
        ("overwrite = true", "overwrite"),
        ("trust-folder = true", "trust-folder"),
        ("files = 1", "files"),
        ("[files.'*.avi']\nstrength = 2", "--strength"),
        ("encoder-option = [5]", "not 5"),
        ("encoder-option = [['a']]", "encoder-option"),
        ("batch-size = -5", "not -5"),
        (f"batch-size = {'9' * 400}", "batch-size"),
        (f"seed = {'9' * 5000}", "vidx4.toml"),
        (f"seed = 0x{'f' * 9000}", "seed"),
        (f"steps = [0x{'f' * 9000}]", "steps"),
        ("strength = nan", "--strength"),
        ("reuse-threshold = inf", "--reuse-threshold"),
        ("guidance-scale = -inf", "--guidance-scale"),
        ("seed = 1e300", "seed"),
        ("seed = 2020-01-01", "seed"),
        ("seed = {a = 1}", "seed"),
        (f"seed = {'[' * 5000}{']' * 5000}", "nested"),
        (f"seed.{'a.' * 300}a = 1", "seed"),
        (f"seed.{'a.' * 30_000}a = 1", "nested"),
        (f"seed = {{{'a.' * 30_000}a = 1}}", "nested"),
        ("".join(f"[files.'{number}']\nseed = 1\n" for number in range(1001)), "patterns"),
        (f"prompt = '{'long ' * 9999}'", "prompt"),
        (f"[files.'{'*a' * 9999}']\nseed = 1", "pattern"),
        ('"\\u001b[31mred\\nline" = 1', "\\x1b[31mred\\nline"),
        ('codec = "\\u001b[31m"', "\\x1b[31m"),
        ("\x1b = 1", "vidx4.toml"),
    ],
)
def test_invalid_options_in_the_file_are_refused(content: str, message: str, folder: Path) -> None:
    (folder / "vidx4.toml").write_text(content)
    assert message in sentence(dry_run(folder, "--trust-folder"))
    assert not (folder.parent / "out").exists()


def test_a_file_of_options_that_is_none_is_refused(folder: Path) -> None:
    path = folder / "vidx4.toml"
    path.write_bytes(b"seed = '\xff'")
    assert str(path) in sentence(dry_run(folder))
    path.write_bytes(b"#" * ((1 << 16) + 1))
    assert "larger" in sentence(dry_run(folder))
    path.unlink()
    path.mkdir()
    assert str(path) in sentence(dry_run(folder))


@needs_links
@needs_pipes
@needs_proc
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_file_of_options_that_has_no_end_is_not_read(folder: Path) -> None:
    path = folder / "vidx4.toml"
    os.mkfifo(path)
    assert "regular" in sentence(dry_run(folder))
    path.unlink()
    path.symlink_to("/dev/zero")
    assert "--trust-folder" in sentence(dry_run(folder))
    assert "regular" in sentence(dry_run(folder, "--trust-folder"))


@needs_links
def test_options_are_not_read_from_elsewhere(folder: Path) -> None:
    (folder.parent / "other.toml").write_text("seed = 8")
    (folder / "vidx4.toml").symlink_to(folder.parent / "other.toml")
    with pytest.raises(OptionError, match="--trust-folder"):
        Overrides.load(folder, file_options())
    assert Overrides.load(folder, file_options(), is_trusted=True).of("a") == {"seed": 8}
