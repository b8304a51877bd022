"""Names that Windows refuses, or makes others of."""

from pathlib import Path, PureWindowsPath

import pytest

from vidx4.errors import OutputError
from vidx4.files.windows_names import MAX_LENGTH, why_not
from vidx4.media.place import check_folder, check_writable


@pytest.mark.parametrize(
    "path",
    [
        *(r"C:\films\film_x4.mp4", r"\\server\share\film.mp4", r"\\?\C:\films\film.mp4", r"D:film.mp4"),
        *("film.mp4", r"frames\%06d.png", r"C:\films\.hidden", r"..\films\COMEDY.mp4", r"C:\a.b\con_x4.mp4"),
    ],
)
def test_names_that_are_kept(path: str) -> None:
    assert why_not(PureWindowsPath(path)) == ""


@pytest.mark.parametrize(
    "path",
    [
        *(r"C:\films\part 1: the end.mp4", r"C:\what?.mp4", r"C:\<a>\film.mp4", r'"film".mp4', "a|b.mp4"),
        *("a*.mp4", "new\nline.mp4", r"C:\films \film.mp4", r"C:\films.\film.mp4", "film.mp4.", "film.mp4 "),
        *("CON", "nul.mp4", r"C:\com1\film.mp4", "LPT9.tar.mkv", "aux .mp4", "COM¹.mp4", "conin$"),
    ],
)
def test_names_that_windows_refuses_or_changes(path: str) -> None:
    assert why_not(PureWindowsPath(path))


def test_a_path_has_room_for_the_names_of_unfinished_work() -> None:
    longest = next(
        length for length in range(MAX_LENGTH, 0, -1) if not why_not(PureWindowsPath("C:\\" + length * "x"))
    )
    part = "C:\\" + longest * "x" + ".vidx4\\." + 16 * "0" + "." + 16 * "0" + ".mark.unfinished"
    assert len(part) == MAX_LENGTH


@pytest.mark.parametrize("name", ["a:b.mp4", "nul.mp4", 200 * "x" + ".mp4"])
def test_they_are_refused_before_the_work(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_writable(tmp_path / name, tmp_path / "film.mp4", overwrite=False)
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(OutputError, match="Windows"):
        check_writable(tmp_path / name, tmp_path / "film.mp4", overwrite=False)
    with pytest.raises(OutputError, match="Windows"):
        check_folder(tmp_path / name, tmp_path / "film.mp4")
