"""Which files of a folder are taken, and which are passed over."""

import errno
import os
import shutil
import socket
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from tests.capabilities import needs_folder_descriptors, needs_links, needs_pipes, needs_proc
from tests.video_files import write_video
from vidx4.errors import OutputError, StoppedError
from vidx4.jobs.folder.kinds import IRREGULAR, LINKED_FOLDER, NEITHER, OUTSIDE, RARE, UNFINISHED
from vidx4.jobs.folder.reports import name_passed_over
from vidx4.jobs.folder.selection import Selection

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


@needs_pipes
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_pipe_is_not_opened(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert look(folder) == (["film.mpg"], ["pipe"])


def reasons(folder: Path, *, is_trusted: bool = False) -> dict[str, str]:
    selection = Selection(folder, folder.parent / "out", is_trusted=is_trusted)
    return dict(selection.survey().passed_over)


@needs_links
def test_links_that_lead_out_are_passed_over(folder: Path) -> None:
    home = folder.parent / "home"
    home.mkdir()
    shutil.copy(folder / "film.mpg", home / "film.mpg")
    (folder / "film.mpg").rename(folder / "sub" / "film.mpg")
    (folder / "inside.mpg").symlink_to("sub/film.mpg")
    (folder / "absolute.mpg").symlink_to(home / "film.mpg")
    (folder / "sub" / "relative").symlink_to("../../home/film.mpg")
    (folder / "chain.mpg").symlink_to("absolute.mpg")
    (folder / "folder").symlink_to(home)
    assert look(folder)[0] == ["inside.mpg", "sub/film.mpg"]
    assert reasons(folder) == {
        **dict.fromkeys(("absolute.mpg", "chain.mpg", "sub/relative"), OUTSIDE),
        "folder": LINKED_FOLDER,
    }
    assert reasons(folder, is_trusted=True) == {"folder": LINKED_FOLDER}


@needs_links
@needs_pipes
@needs_proc
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_what_is_no_file_is_never_opened(folder: Path) -> None:
    os.mkfifo(folder / "pipe.mp4")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(os.path.relpath(folder / "socket.mkv"))  # such names are short
    (folder / "device.mp4").symlink_to("/dev/zero")
    (folder / "nothing.mp4").symlink_to("nowhere")
    (folder / "loop.png").symlink_to("loop.png")
    names = ("device.mp4", "loop.png", "nothing.mp4", "pipe.mp4", "socket.mkv")
    assert reasons(folder, is_trusted=True) == dict.fromkeys(names, IRREGULAR)
    assert reasons(folder) == reasons(folder, is_trusted=True)


@needs_folder_descriptors
def test_folders_may_be_nested_a_thousand_deep(folder: Path) -> None:
    bottom, here = 1200 * "d/", os.open(folder, os.O_RDONLY)
    try:
        for _ in range(1200):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
    finally:
        os.close(here)
    shutil.copy(folder / "film.mpg", folder / bottom)
    found, _ = look(folder)
    (folder / bottom / "film.mpg").unlink()
    os.removedirs(folder / bottom)  # pytest could not
    assert found == [f"{bottom}film.mpg", "film.mpg"]


@needs_folder_descriptors
@needs_links
def test_links_do_not_lead_outputs_out_of_their_folder(folder: Path) -> None:
    out, home = folder.parent / "out", folder.parent / "home"
    (out / "real").mkdir(parents=True)
    home.mkdir()
    for name, target in (
        ("out", home),
        ("dangling", home / "new"),
        ("in", Path("real")),
        ("loop", Path("loop")),
    ):
        (out / f"to_{name}").symlink_to(target)
    selection = Selection(folder, out)
    for name in ("to_in", "real", "new/folder", "."):
        selection.check_output(out / name / "film_x4.mp4")
    for name in ("to_out", "to_out/deep/er", "to_dangling"):
        with pytest.raises(OutputError, match="remove the link"):
            selection.check_output(out / name / "film_x4.mp4")


def test_a_few_files_are_named() -> None:
    assert name_passed_over(["a", "b"], NEITHER).endswith(": a, b")
    names = [str(number) for number in range(100)]
    assert name_passed_over(names, NEITHER).startswith("100 files are passed over")
    assert name_passed_over(names, NEITHER).endswith(": 0, 1, 2, 3, 4 and 95 more")
    assert name_passed_over(names, NEITHER, show_all=True).endswith(", 99")


@pytest.mark.parametrize(
    "name",
    [
        *("a.mkv.part", "a.mp4.part-Frag12", "a.mkv.crdownload", "a.mkv.!qB", "a.mkv.ytdl", "a.mkv.tmp"),
        *("a.avi.temp", "a.avi.partial", "a.mkv.aria2", "a.mkv~", "a.mp4.bak", "a.mp4.OLD", "~$a.mp4"),
        *("a.mkv.download", "a.mkv.bak2", "a.mkv.orig"),
    ],
)
def test_unfinished_downloads_and_backups_are_passed_over(name: str, folder: Path) -> None:
    shutil.copy(folder / "film.mpg", folder / name)
    assert look(folder)[0] == ["film.mpg"]
    assert reasons(folder) == {name: UNFINISHED}


@pytest.mark.parametrize("name", ["old.mpg", "a part.mpg", "bak.mpg", "a.older", "a.temperature"])
def test_names_that_only_resemble_those_of_unfinished_files_are_taken(name: str, folder: Path) -> None:
    shutil.copy(folder / "film.mpg", folder / name)
    assert look(folder) == (sorted(["film.mpg", name]), [])


def test_a_file_that_is_downloaded_under_its_own_name_is_passed_over(folder: Path) -> None:
    (folder / "film.mpg.aria2").write_bytes(b"what is missing")
    assert look(folder) == ([], ["film.mpg", "film.mpg.aria2"])
    assert set(reasons(folder).values()) == {UNFINISHED}


def test_every_kind_of_picture_is_taken_or_named(folder: Path) -> None:
    for name in ("a.qoi", "b.sgi", "c.rgb", "d.pbm", "e.dib", "f.j2k", "g.psd_", "h"):
        picture = Image.new("1" if name == "d.pbm" else "RGB", (8, 6), "white")
        kind = {".psd_": "PNG", "": "JPEG", ".dib": "DIB"}.get(Path(name).suffix)
        picture.save(folder / name, kind)
    for name in ("i.dpx", "j.heic", "k.jxl"):
        (folder / name).write_bytes(b"a picture")
    found, over = look(folder)
    assert found == ["a.qoi", "b.sgi", "c.rgb", "d.pbm", "e.dib", "f.j2k", "film.mpg", "g.psd_", "h"]
    assert over == ["i.dpx", "j.heic", "k.jxl"]
    assert set(reasons(folder).values()) == {RARE}


@pytest.fixture
def deep(folder: Path) -> Iterator[Path]:
    """Return a folder that holds one whose path is too long for the system to list it."""
    name, here = 250 * "d", os.open(folder, os.O_RDONLY)
    for _ in range(17):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    yield folder
    shutil.rmtree(folder)


@needs_folder_descriptors
def test_a_folder_that_cannot_be_listed_is_named(deep: Path) -> None:
    selection = Selection(deep, deep.parent / "out")
    found = selection.survey()
    ((path, why),) = found.unreadable.items()
    assert 250 * "d" in str(path)
    assert why == os.strerror(errno.ENAMETOOLONG)
    assert [each.name for each in found.paths] == ["film.mpg"]
    assert not Selection(deep, deep.parent / "out", exclude=("ddd*",)).survey().unreadable


def test_a_file_that_cannot_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, flags: int, *rest: object, **more: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    (folder / "recording").write_bytes(b"")
    monkeypatch.setattr("vidx4.files.read.os.open", refuse)
    found = Selection(folder, folder.parent / "out").survey()
    assert found.unreadable == {folder / "recording": "Permission denied"}


def test_a_search_can_be_stopped(folder: Path) -> None:
    def stop() -> None:
        raise StoppedError("Stopped.")

    with pytest.raises(StoppedError):
        Selection(folder, folder.parent / "out").survey(stop)


def test_folders_of_windows_with_what_was_deleted_are_not_searched(folder: Path) -> None:
    before = Selection(folder, folder.parent / "out").find()
    for name in ("$RECYCLE.BIN", "System Volume Information"):
        (folder / name).mkdir()
        (folder / name / "film.mp4").touch()
    assert Selection(folder, folder.parent / "out").find() == before
