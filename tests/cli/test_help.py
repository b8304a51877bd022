"""The help, the completion of the shell and the reference come from the fields of the option classes."""

import os
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from vidx4.cli.commands import app
from vidx4.cli.program import REFERENCE, Subset
from vidx4.diffusion.options import UpscaleOptions
from vidx4.jobs.folder.options import file_options
from vidx4.media.options import Codec
from vidx4.option import Panel

COMMANDS = ["upscale", "preview", "batch", "compare", "verify", "probe", "models", "doctor"]
COMMON = {"--model", "--speed", "--prompt", "--noise-level", "--temporal", "--codec", "--quality", "--width"}
COMMON |= {"--height", "--audio", "--subtitles", "--start", "--stop", "--output", "--overwrite", "--dry-run"}
COMMON |= {"--device", "--until", "--for"}


def output(*arguments: str, columns: int = 80) -> str:
    # Not TERMINAL_WIDTH: Typer reads that once in a process.
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": str(columns)})
    assert result.exit_code == 0, result.output
    return result.stdout


def test_every_command_is_in_the_reference_in_the_order_of_the_help() -> None:
    assert list(REFERENCE) == COMMANDS
    listed = re.findall(r"^│ (\w+) ", output("--help").partition("Commands")[2], re.MULTILINE)
    assert listed == COMMANDS


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_the_short_help_fits_on_one_screen(command: str) -> None:
    lines = output(*filter(None, (command, "-h"))).splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80


def test_the_short_help_shows_what_people_use() -> None:
    shown = set(re.findall(r"^ {2,6}(?:-\w, )?(--[\w-]+)", output("upscale", "-h"), re.MULTILINE))
    assert shown == COMMON
    assert {"--at", "--samples", "--sweep", "--start"} <= set(
        re.findall(r"--[\w-]+", output("preview", "-h"))
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_the_full_help_lists_every_option_in_its_panel(command: str) -> None:
    text = output(command, "--help", columns=200)
    starts = {panel: text.find(f"─ {panel} ─") for panel in Panel}
    found = [panel for panel in Panel if starts[panel] >= 0]
    assert found == list(REFERENCE[command].by_panel())
    assert found == sorted(found, key=lambda panel: starts[panel])
    for panel, options in REFERENCE[command].by_panel().items():
        section = text[starts[panel] :].partition("╰")[0]
        assert re.findall(r"^│ (--[\w-]+)", section, re.MULTILINE) == [f"--{each.flag}" for each in options]
        assert all(not each.choices or "|".join(each.choices) in section for each in options)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_form_of_an_option_is_its_own(command: str) -> None:
    options = REFERENCE[command].options
    forms = [form for each in options for form in (f"--{each.flag}", each.option.short) if form]
    assert len(forms) == len(set(forms))
    assert all(re.fullmatch(r"--[a-z0-9-]+|-[a-z]", form) for form in forms)


def test_keys_of_a_folder_are_flags() -> None:
    flags = {each.flag for each in REFERENCE["batch"].options}
    assert set(file_options()) < flags
    assert {"codec", "steps", "encoder-option", "max-memory", "batch-size", "audio"} <= set(file_options())
    assert not {"overwrite", "dry-run", "start", "cluster"} & set(file_options())


def test_flags_are_named_as_fields_but_for_three() -> None:
    options = {each.flag: each.name for command in REFERENCE.values() for each in command.options}
    others = {flag: name for flag, name in options.items() if flag != name.replace("_", "-")}
    assert others == {
        "steps": "num_inference_steps",
        "encoder-option": "encoder_options",
        "for": "duration",
    }


def test_every_option_has_a_help_text() -> None:
    for command in REFERENCE.values():
        assert command.help
        assert command.usage.startswith(f"vidx4 {command.name}")
        assert all(each.option.help.endswith(".") for each in command.options)


def completions(*words: str) -> set[str]:
    environment = os.environ | {
        "_VIDX4_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["vidx4", *words]),
        "COMP_CWORD": str(len(words)),
    }
    command = [sys.executable, "-c", "from vidx4.cli.commands import main; main()"]
    return set(subprocess.run(command, env=environment, capture_output=True, text=True).stdout.split())


def test_the_shell_completes_commands_options_and_choices() -> None:
    assert completions("upscale", "old.mp4", "--codec", "") == set(Codec)
    assert completions("upscale", "old.mp4", "--codec", "h") == {each for each in Codec if each[0] == "h"}
    assert "--encoder-preset" in completions("batch", "--enc")
    assert completions("pre") == {"preview"}
    assert "--install-completion" in output("--help")


def test_a_subset_names_options_that_exist() -> None:
    with pytest.raises(ValueError, match="speed_of_light"):
        Subset(without=("speed_of_light",)).options_of(UpscaleOptions)
