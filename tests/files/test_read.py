"""Only regular files are read, and no more of them than was agreed."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.capabilities import needs_links, needs_pipes, needs_proc
from vidx4.files.read import open_file, read_json, read_whole


def pipe(path: Path) -> None:
    os.mkfifo(path)


def listening_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@needs_links
@needs_pipes
@needs_proc
@pytest.mark.parametrize("make", [pipe, listening_socket, link_to_a_device, Path.mkdir])
def test_what_is_no_regular_file_is_refused_at_once(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "x")
    with pytest.raises(OSError, match=r"not a regular file|No such device|directory"):
        open_file(tmp_path / "x")
    assert read_json(tmp_path / "x") == {}


@needs_links
def test_links_are_followed_where_they_may_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    (tmp_path / "link").symlink_to("file")
    with open_file(tmp_path / "link") as file:
        assert file.read() == b"content"
    with pytest.raises(OSError, match="it is a link"):
        open_file(tmp_path / "link", follows_links=False)


def test_no_more_is_read_than_agreed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(100))
    assert read_whole(tmp_path / "file", 100) == bytes(100)
    with pytest.raises(OSError, match="larger than 99 bytes"):
        read_whole(tmp_path / "file", 99)


@pytest.mark.parametrize("content", [b'{"a":' * 100_000, b"[1]", b"\xff", b"", b'{"a": 1' + b" " * 200])
def test_what_is_no_object_reads_as_an_empty_one(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    assert read_json(tmp_path / "file", 1_000_000) == {}
