"""A folder for vidx4's own files is one that it made itself."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.capabilities import needs_links, needs_pipes, needs_root
from vidx4.errors import OutputError
from vidx4.files.own_folder import LOCK, own_folder, remove_folder

ALL = re.compile(".*")


def use(path: Path) -> None:
    with own_folder(path):
        pass


def test_a_folder_is_locked_and_only_for_the_user(tmp_path: Path) -> None:
    with own_folder(tmp_path / "work"):
        assert (tmp_path / "work").stat().st_mode & 0o777 == 0o700
        with pytest.raises(OutputError, match="Another job is using"):
            use(tmp_path / "work")
    use(tmp_path / "work")


def link(path: Path, home: Path) -> None:
    path.symlink_to(home)


def link_at_the_lock(path: Path, home: Path) -> None:
    path.mkdir()
    (path / LOCK).symlink_to(home / "thesis.txt")


def hard_link_at_the_lock(path: Path, home: Path) -> None:
    path.mkdir()
    (path / LOCK).hardlink_to(home / "thesis.txt")


def hard_link_to_an_empty_file(path: Path, home: Path) -> None:
    path.mkdir()
    (home / "empty").touch()
    (path / LOCK).hardlink_to(home / "empty")


def pipe_at_the_lock(path: Path, home: Path) -> None:
    path.mkdir()
    os.mkfifo(path / LOCK)


def folder_at_the_lock(path: Path, home: Path) -> None:
    (path / LOCK).mkdir(parents=True)


def file(path: Path, home: Path) -> None:
    path.touch()


def somebodys_folder(path: Path, home: Path) -> None:
    path.mkdir()
    (path / "00000000.json").write_text("mine")


def somebodys_folder_with_a_lock(path: Path, home: Path) -> None:
    somebodys_folder(path, home)
    (path / LOCK).touch()


@needs_links
@needs_pipes
@pytest.mark.parametrize(
    "plant",
    [
        link,
        link_at_the_lock,
        hard_link_at_the_lock,
        hard_link_to_an_empty_file,
        pipe_at_the_lock,
        folder_at_the_lock,
        file,
        somebodys_folder,
        somebodys_folder_with_a_lock,
    ],
)
def test_what_others_planted_is_refused_and_left_as_it_is(
    plant: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("precious")
    plant(tmp_path / "work", home)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match=r"is not a folder|can't be used|was not made by"):
        use(tmp_path / "work")
    assert sorted(tmp_path.rglob("*")) == before
    assert (home / "thesis.txt").read_text() == "precious"
    assert not (home / "empty").exists() or (home / "empty").stat().st_size == 0


@needs_root
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    use(tmp_path / "work")
    os.chown(tmp_path / "work", 12345, -1)
    with pytest.raises(OutputError, match="belongs to another user"):
        use(tmp_path / "work")
    assert [each.name for each in (tmp_path / "work").iterdir()] == [LOCK]


@needs_links
def test_only_regular_files_are_removed(tmp_path: Path) -> None:
    use(tmp_path / "work")
    (tmp_path / "precious").mkdir()
    (tmp_path / "work" / "a").touch()
    (tmp_path / "work" / "b").symlink_to(tmp_path / "precious")
    assert not remove_folder(tmp_path / "work", ALL)
    assert [each.name for each in (tmp_path / "work").iterdir()] == ["b"]
