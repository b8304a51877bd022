"""Messages tell what is wrong in words that people use, and what to do that helps."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.conftest import MakeVideo
from vidx4.cli.commands import app
from vidx4.cli.terminal import Terminal
from vidx4.diffusion.options import UpscaleOptions
from vidx4.errors import LossError, OutputError
from vidx4.jobs.identity import differences
from vidx4.jobs.plan import plan_video
from vidx4.media.checks import verify_output
from vidx4.option import options_of

FAST = ("--encoder-preset", "ultrafast", "--device", "cpu")


def vidx4(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.mark.parametrize("command", [("upscale",), ("probe",), ("preview",), ("batch",)])
@pytest.mark.parametrize("address", ["https://example.org/a.mp4", "smb://nas/films"])
def test_an_address_is_named_as_it_was_typed(command: tuple[str, ...], address: str) -> None:
    result = vidx4(*command, address)
    assert result.exit_code == 2
    assert f"{address} is an address" in result.stderr


@pytest.mark.parametrize("command", ["upscale", "preview", "verify"])
def test_a_range_that_stops_before_it_starts_names_both_options(command: str, tmp_path: Path) -> None:
    arguments = (tmp_path, tmp_path) if command == "verify" else ("a.mp4",)
    result = vidx4(command, *arguments, "--start", "0:20", "--stop", "5")
    assert result.exit_code == 2
    assert "--stop (5 s)" in result.stderr
    assert "--start (20 s)" in result.stderr


def test_a_dry_run_tells_what_it_leaves_and_a_finished_job_no_speed(make_video: MakeVideo) -> None:
    source = make_video(num_frames=3)
    trial = vidx4("upscale", source, "--dry-run", *FAST)
    assert "_x4.mp4.vidx4" in trial.stderr
    resumed = vidx4("upscale", source, *FAST, "-v")
    assert "all by an earlier run" in resumed.stderr
    assert " fps)" not in resumed.stderr
    assert "all frames are made" in resumed.stderr
    assert "encode, waiting, join" in resumed.stderr


@pytest.mark.parametrize(
    ("level", "told"),
    [("auto", ", estimated; --noise-level auto+20 restores more"), ("auto+7", ", from an estimate of")],
)
def test_a_plan_tells_where_a_noise_level_comes_from(level: str, told: str, make_video: MakeVideo) -> None:
    trial = vidx4("upscale", make_video(num_frames=3), "--dry-run", "--noise-level", level, *FAST)
    assert told in trial.stderr


@pytest.mark.parametrize(
    ("error", "flag"), [(LossError("lost"), " --accept-loss"), (OutputError("full"), "")]
)
def test_the_command_that_resumes_helps(
    error: OutputError, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error.add_note("9 of 9 frames are kept.")
    assert Terminal(command="vidx4 upscale a.mp4").failure(error) == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"Resume with: vidx4 upscale a.mp4{flag}"


def test_two_ways_not_to_set_an_option_are_no_difference() -> None:
    assert differences({"prompt": None, "seed": 0}, {"prompt": "", "seed": 0}) == ""
    assert "seed was 0 and is not set" in differences({"seed": 0}, {"seed": None})


def test_verify_names_what_codes_stand_for(make_video: MakeVideo, tmp_path: Path) -> None:
    source, output = make_video(num_frames=2), tmp_path / "big.mp4"
    assert vidx4("upscale", source, output, *FAST).exit_code == 0
    checks = {
        each.subject: each.found
        for each in verify_output(plan_video(source, tmp_path / "b.mp4").written, output)
    }
    assert checks["colour matrix"].startswith("BT.")
    assert (checks["colour range"], checks["margins"], checks["display matrix"]) == (
        "limited",
        "none",
        "upright",
    )
    assert checks["shape of pixels"] == "1:1"
    assert not any("(" in text and "=" in text for text in checks.values())


def test_a_small_size_is_written_in_a_unit_that_shows_it() -> None:
    option = options_of(UpscaleOptions)["max-memory"]
    for text in ("1K", "500KB", "1.5GB"):
        (written,) = option.format(option.parse(text))
        assert "e-" not in written
        assert option.parse(written) == option.parse(text)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        ImportError("cv2.abi3.so: failed to map segment from shared object"),
    ],
)
def test_too_little_memory_is_no_bug(
    error: Exception, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a low `ulimit -v`, whichever library notices it first."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("vidx4.jobs.plan.plan_video", fail)
    result = vidx4("upscale", make_video(num_frames=2), *FAST)
    assert result.exit_code == 1
    assert "memory" in result.stderr
    assert isinstance(result.exception, SystemExit)
