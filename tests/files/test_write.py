"""Files and folders appear whole or not at all, and never through a link."""

import errno
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.capabilities import needs_links, needs_permissions, needs_pipes, needs_root
from vidx4.errors import OutputError, SourceError
from vidx4.files.write import write_whole, write_whole_folder


def write(path: Path, text: str = "new", *, overwrite: bool = True, like: Path | None = None) -> None:
    with write_whole(path, overwrite=overwrite, like=like) as unfinished:
        unfinished.write_text(text)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "home" / "thesis.txt"
    path.parent.mkdir()
    path.write_text("precious")
    return path


@needs_links
def test_a_link_is_replaced_and_not_what_it_leads_to(victim: Path, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").symlink_to(victim)
    write(tmp_path / "film.mp4")
    assert victim.read_text(encoding="utf-8") == "precious"
    assert not (tmp_path / "film.mp4").is_symlink()


def test_an_unfinished_file_has_a_name_that_nobody_can_foresee(tmp_path: Path) -> None:
    names = set()
    for _ in range(2):
        with write_whole(tmp_path / "film.mp4") as unfinished:
            names.add(unfinished.name)
            unfinished.touch()
    assert len(names) == 2


def test_nothing_is_left_after_an_error(tmp_path: Path) -> None:
    def fail() -> None:
        with write_whole(tmp_path / "film.mp4") as unfinished:
            unfinished.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"

    def write_while_others_write() -> None:
        with write_whole(path, overwrite=False) as unfinished:
            unfinished.write_text("new")
            path.write_text("of somebody else")

    with pytest.raises(OutputError, match="has appeared meanwhile"):
        write_while_others_write()
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [
        ("film.mp4", "of somebody else")
    ]


@needs_links
def test_a_dangling_link_counts_as_a_file(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").symlink_to("nowhere")
    with pytest.raises(OutputError, match="appeared meanwhile"):
        write(tmp_path / "film.mp4", overwrite=False)


def test_it_works_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write(tmp_path / "film.mp4", overwrite=False)
    assert [each.read_text() for each in tmp_path.iterdir()] == ["new"]
    with pytest.raises(OutputError, match="appeared meanwhile"):
        write(tmp_path / "film.mp4", overwrite=False)


def test_remains_of_a_killed_run_are_removed_and_those_of_a_living_one_kept(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with write_whole(path) as living:
        remains = living.with_name(living.name.replace(living.suffixes[0], ".0123456789abcdef"))
        remains.touch()
        write(path, "of another run")
        assert living.exists()
        assert not remains.exists()


@needs_permissions
@pytest.mark.parametrize(
    ("source", "output"), [(0o600, 0o600), (0o640, 0o640), (0o444, 0o644), (0o644, 0o644)]
)
def test_nobody_reads_the_output_who_may_not_read_the_source(
    source: int, output: int, tmp_path: Path
) -> None:
    (tmp_path / "film.mp4").touch()
    (tmp_path / "film.mp4").chmod(source)
    before = os.umask(0o022)
    try:
        write(tmp_path / "film_x4.mp4", like=tmp_path / "film.mp4")
        (tmp_path / "there").mkdir()
        for name in ("frames", "there"):
            with write_whole_folder(tmp_path / name, like=tmp_path / "film.mp4") as unfinished:
                (unfinished / "1.png").touch()
    finally:
        os.umask(before)
    assert (tmp_path / "film_x4.mp4").stat().st_mode & 0o777 == output
    assert (tmp_path / "frames").stat().st_mode & 0o777 == output | (output & 0o444) >> 2
    assert [path.stat().st_mode & 0o777 for path in tmp_path.glob("*/1.png")] == [output, output]


@pytest.mark.parametrize("write_any", [write_whole, write_whole_folder])
def test_a_long_name_can_be_written(
    write_any: Callable[[Path], AbstractContextManager[Path]], tmp_path: Path
) -> None:
    path = tmp_path / ("x" * 255)
    with write_any(path) as unfinished:
        unfinished.touch()
    assert path.exists()
    with pytest.raises(OutputError, match="name too long"), write_any(path.with_name("x" * 256)):
        pass


def write_folder(folder: Path, *names: str, replaces: Callable[[str], bool] = lambda _: False) -> None:
    with write_whole_folder(folder, replaces=replaces) as unfinished:
        for name in names:
            (unfinished / name).write_text("new")


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() if path.is_file() else "" for path in folder.iterdir()}


@needs_links
def test_a_link_to_a_folder_is_refused(victim: Path, tmp_path: Path) -> None:
    (tmp_path / "frames").symlink_to(victim.parent)
    with pytest.raises(OutputError, match="is a link"):
        write_folder(tmp_path / "frames", "1.png")
    assert content(victim.parent) == {"thesis.txt": "precious"}


def test_files_are_moved_into_a_folder_that_exists_and_others_are_kept(tmp_path: Path) -> None:
    (tmp_path / "1.png").mkdir()
    for name in ("2.png", "3.png", "mine.txt"):
        (tmp_path / name).write_text("old")
    write_folder(tmp_path, "2.png", replaces=lambda name: name.endswith(".png"))
    assert content(tmp_path) == {"1.png": "", "2.png": "new", "mine.txt": "old"}


def test_a_file_that_must_not_be_replaced_leaves_a_folder_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "2.png").write_text("old")
    with pytest.raises(OutputError, match="appeared meanwhile"):
        write_folder(tmp_path, "1.png", "2.png")
    assert content(tmp_path) == {"2.png": "old"}


@pytest.mark.parametrize("name", [".", "../frames", "../frames/../frames"])
def test_the_current_folder_can_be_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "frames").mkdir()
    monkeypatch.chdir(tmp_path / "frames")
    write_folder(Path(name), "1.png")
    assert content(Path()) == {"1.png": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["frames"]


def test_the_root_can_not_be_written() -> None:
    with pytest.raises(OutputError, match="can't be an output"):
        write_folder(Path("/"))


@needs_pipes
@pytest.mark.parametrize("state", ["unfinished", "old"])
def test_a_pipe_among_the_remains_is_no_obstacle(state: str, tmp_path: Path) -> None:
    with write_whole_folder(tmp_path / "frames") as unfinished:
        digest = unfinished.name.split(".")[1]
    (tmp_path / "frames").rmdir()
    os.mkfifo(tmp_path / f".{digest}.0123456789abcdef.{state}")
    write_folder(tmp_path / "frames", "1.png")
    assert content(tmp_path / "frames") == {"1.png": "new"}


@needs_permissions
@needs_root
@pytest.mark.parametrize(("source", "output"), [(0o640, 0o600), (0o604, 0o600), (0o664, 0o664)])
def test_another_group_gets_no_more_than_all_have(source: int, output: int, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").touch()
    os.chown(tmp_path / "film.mp4", -1, 12345)
    (tmp_path / "film.mp4").chmod(source)
    before = os.umask(0o002)
    try:
        write(tmp_path / "film_x4.mp4", like=tmp_path / "film.mp4")
    finally:
        os.umask(before)
    assert (tmp_path / "film_x4.mp4").stat().st_mode & 0o777 == output


def test_a_file_that_another_program_has_open_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a virus scanner has it, on Windows."""
    replace, num_left = Path.replace, 2

    def busy(path: Path, target: Path) -> Path:
        nonlocal num_left
        num_left -= 1
        if num_left >= 0:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", busy)
    with write_whole(tmp_path / "a") as unfinished:
        unfinished.write_bytes(b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_disk_without_permissions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    (tmp_path / "source").touch(0o600)
    monkeypatch.setattr(Path, "chmod", refuse)
    with write_whole(tmp_path / "a", like=tmp_path / "source") as unfinished:
        unfinished.write_bytes(b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_what_can_not_be_read_meanwhile_is_not_blamed_on_the_output(tmp_path: Path) -> None:
    source, output = tmp_path / "source.mp4", tmp_path / "film.mp4"
    with pytest.raises(SourceError, match=r"source\.mp4 can't be read"), write_whole(output):
        source.read_bytes()
    with pytest.raises(OutputError, match=r"film\.mp4 can't be written"), write_whole(output) as unfinished:
        (unfinished / "inside").read_bytes()
    with pytest.raises(OutputError, match=r"film\.mp4 can't be written"), write_whole(output):
        raise OSError(5, "Input/output error")
    assert list(tmp_path.iterdir()) == []
