"""What killed runs leave is removed; what others are writing is not."""

from pathlib import Path

import pytest

from vidx4.files.remains import hidden_name, is_hidden_name, marked, remove_remains


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@pytest.mark.parametrize("is_folder", [False, True])
def test_what_is_marked_stays_until_its_writer_is_gone(is_folder: bool, tmp_path: Path) -> None:
    path = tmp_path / hidden_name("film.mp4", "unfinished")
    with marked(path):
        path.mkdir() if is_folder else path.touch()
        marks = [name for name in names(tmp_path) if name != path.name]
        remove_remains(tmp_path / "film.mp4")
        assert path.exists()
        assert len(marks) == 1
        assert all(map(is_hidden_name, names(tmp_path)))
    assert names(tmp_path) == [path.name]
    (tmp_path / marks[0]).touch()  # as after a power cut
    remove_remains(tmp_path / "film.mp4")
    assert names(tmp_path) == []


def test_a_mark_alone_is_removed_and_other_files_are_not(tmp_path: Path) -> None:
    with marked(tmp_path / hidden_name("film.mp4", "unfinished")):
        (mark,) = names(tmp_path)
    others = [hidden_name("other.mp4", "unfinished"), "film.mp4", f"x{mark}"]
    for name in (mark, *others):
        (tmp_path / name).touch()
    remove_remains(tmp_path / "film.mp4")
    assert names(tmp_path) == sorted(others)
