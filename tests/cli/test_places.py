"""Where the command line reads from and writes to."""

import json
import shutil
from pathlib import Path

import pytest

from tests.capabilities import needs_proc
from tests.cli.test_commands import FAST, PHOTO, vidx4
from tests.conftest import MakeVideo
from vidx4.media.probe import probe


@pytest.fixture
def film(make_video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with a film the current one."""
    monkeypatch.chdir(tmp_path)
    return make_video("film.mp4", num_frames=8, width=32, height=24).relative_to(tmp_path)


def test_every_command_puts_its_result_into_a_folder(film: Path) -> None:
    assert vidx4("upscale", film, "out/", *FAST).stdout.strip() == "out/film_x4.mp4"
    assert vidx4("upscale", film, "-o", "new/", *FAST).stdout.strip() == "new/film_x4.mp4"
    assert vidx4("preview", film, "out", *FAST).stdout.splitlines()[0] == "out/film_x4_preview.mp4"
    assert vidx4("compare", film, "out/film_x4.mp4", "new").stdout.strip() == "new/film_x4_crops.png"
    assert vidx4("upscale", PHOTO, "out/", "--device", "cpu").stdout.strip() == "out/photo_x4.png"
    shutil.copy(PHOTO, "photo.png")
    shutil.move("film.mp4", "out/film.mp4")
    assert vidx4("batch", "out", "-o", "all/", "--include", "film.mp4", *FAST).exit_code == 0
    assert probe("all/film_x4.mp4").num_frames == 8


@needs_proc
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("upscale", "film.mp4", ""), 2, "empty name"),
        (("upscale", ""), 2, "empty name"),
        (("upscale", "film.mp4", "%06d.png"), 1, "holds the source itself"),
        (("upscale", "film.mp4", "one.png"), 1, "pattern such as"),
        (("upscale", "film.mp4", "film.mp4/"), 1, "not a folder"),
        (("upscale", "film.mp4", "other.mp4", "-y"), 1, "vidx4 batch"),
        (("upscale", "film.mp4", "other.mp4", "third.mp4"), 2, "vidx4 batch"),
        (("upscale", "*.avi"), 2, "no file matches"),
        (("upscale", "https://host/film.mp4"), 2, "https://host/film.mp4 is an address"),
        (("upscale", "films"), 2, "vidx4 batch films"),
        (("upscale", "film.mp4", "/proc/self/film.mp4"), 1, "Name an output elsewhere"),
        (("upscale", "film.mp4", "--report", "film.mp4"), 1, "the source itself"),
        (("upscale", "film.mp4", "--report", "films"), 1, "is a folder"),
        (("upscale", "film.mp4", "big.mp4", "--report", "big.mp4.vidx4"), 1, ".json"),
        (("batch", "films", "new", "--report", "new"), 1, ".json"),
        (("batch", "films", "new", "--report", "films/vidx4.toml"), 1, ".json"),
        (("batch", "films", "films"), 1, "the folder of the sources"),
        (("upscale", "film.mp4", "--report", "none/report.json"), 1, "none"),
        (("preview", "film.mp4", "other.mp4", "-y"), 1, "was not made from"),
        (("preview", "film.mp4", "a", "b"), 2, "vidx4 batch"),
        (("preview", "film.mp4", "new/%06d.png"), 1, "a preview is a video"),
        (("preview", "film.mp4", "--start", "0.2", "--stop", "0.1"), 2, "must be later than"),
        (("preview", "film.mp4", "--duration", "0"), 2, "--duration"),
        (("compare", "film.mp4", "other.mp4", "films/film.mp4", "-y"), 1, ".png"),
    ],
)
def test_places_that_make_no_sense_are_refused(
    arguments: tuple[str, ...], code: int, message: str, film: Path
) -> None:
    Path("films").mkdir()
    for copy in ("other.mp4", "films/film.mp4"):
        shutil.copy(film, copy)
    before = {path: path.read_bytes() for path in Path().rglob("*.mp4")}
    result = vidx4(*arguments, *(FAST[2:] if arguments[0] != "compare" else ()))
    assert message.lower() in result.output.lower()
    assert result.exit_code == code
    assert "Traceback" not in result.output
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_a_report_tells_of_a_dry_run_until_one_of_the_work_takes_its_place(film: Path) -> None:
    typed = ("upscale", film, *FAST, "--report", "report.json")
    assert vidx4(*typed, "-n").exit_code == 0
    planned = json.loads(Path("report.json").read_text(encoding="utf-8"))
    assert (planned["is_dry_run"], planned["num_frames"], planned["output"]) == (True, 8, "film_x4.mp4")
    assert planned["seconds_left"] >= 0
    assert vidx4(*typed, "-n").exit_code == 0
    assert vidx4(*typed).exit_code == 0
    done = Path("report.json").read_text(encoding="utf-8")
    assert "is_dry_run" not in json.loads(done)
    refused = vidx4("upscale", film, "new.mp4", *typed[2:])
    assert (refused.exit_code, "--overwrite" in refused.stderr) == (1, True)
    assert Path("report.json").read_text(encoding="utf-8") == done
    assert vidx4("upscale", film, "new.mp4", *typed[2:], "-y").exit_code == 0
