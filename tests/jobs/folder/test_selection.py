"""Which files of a folder are taken, and which are passed over."""

import os
import shutil
from fractions import Fraction
from pathlib import Path

import pytest

from tests.video_files import write_video
from vidx4.jobs.folder.selection import Selection, name_passed_over

RECORDINGS = (
    "MOV001.MOD",
    "a.m2t",
    "b.TRP",
    "c.wtv",
    "d.dvr-ms",
    "e.qt",
    "f.vro",
    "g.tod",
    "no_suffix",
    "h.xyz",
    "i.tar.gz",
)


def look(folder: Path, *include: str) -> tuple[list[str], list[str]]:
    selection = Selection(folder, folder.parent / "out", include)
    found = selection.survey()
    return [selection.name(path) for path in found.paths], list(found.passed_over)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    write_video(folder / "film.mpg", num_frames=2, time_base=Fraction(1, 25), codec="mpeg2video", num_audio=0)
    return folder


def test_recordings_are_taken_whatever_their_name(folder: Path) -> None:
    film = (folder / "film.mpg").rename(folder / "sub" / "film.MPG")
    for name in RECORDINGS:
        shutil.copy(film, folder / name)
    assert look(folder) == (sorted([*RECORDINGS, "sub/film.MPG"]), [])


def test_what_is_neither_video_nor_picture_is_passed_over_by_name(folder: Path) -> None:
    for name in ("notes.txt", "film.srt", "sound.wav", "go.mod", "setup", "sub/old.dat", "sub/song.m4a"):
        (folder / name).write_text("module example.org/film\n")
    for name in (".hidden", "vidx4.toml"):
        (folder / name).write_text("")
    (folder / "film.mpg.vidx4").mkdir()
    (folder / "film.mpg.vidx4" / "plan.json").write_text("{}")
    over = ["film.srt", "go.mod", "notes.txt", "setup", "sound.wav", "sub/old.dat", "sub/song.m4a"]
    assert look(folder) == (["film.mpg"], over)
    assert look(folder, "*.mpg", "sub/*") == (["film.mpg"], over[-2:])


def test_a_file_is_read_again_after_a_change(folder: Path) -> None:
    (folder / "growing").write_text("")
    assert look(folder) == (["film.mpg"], ["growing"])
    shutil.copy(folder / "film.mpg", folder / "growing")
    assert look(folder) == (["film.mpg", "growing"], [])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_pipe_is_not_opened(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert look(folder) == (["film.mpg"], ["pipe"])


def test_a_few_files_are_named() -> None:
    assert name_passed_over(["a", "b"]).endswith(": a, b")
    names = [str(number) for number in range(100)]
    assert name_passed_over(names).startswith("100 files are passed over")
    assert name_passed_over(names).endswith(": 0, 1, 2, 3, 4 and 95 more")
    assert name_passed_over(names, show_all=True).endswith(", 99")
