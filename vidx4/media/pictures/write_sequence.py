"""Numbered pictures as an output."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from av.packet import Packet

from vidx4.errors import OutputError
from vidx4.files.read import is_folder_at
from vidx4.files.write import is_hidden_name, write_whole_folder
from vidx4.media.pictures.read_sequence import SUFFIXES, all_names, is_pattern, match_number

DEFAULT_PATTERN = "%06d.png"
"""The names of pictures in an output of which only the folder was given."""


def split_output(output: str | Path) -> tuple[Path, str] | None:
    """Return the folder and the pattern of an output of numbered pictures; None for any other output.

    Numbered pictures are meant by a path that ends with a slash, by a folder that exists, and by a pattern
    such as `frames/%06d.png`.

    Raises:
        OutputError: the pattern is for files of another kind than PNG.
    """
    path = Path(output)
    if is_pattern(path.name) and path.suffix.lower() in SUFFIXES:
        if path.suffix.lower() != ".png":
            raise OutputError(f"Numbered pictures are PNG files: let {path.name} end with .png.")
        return path.parent, path.name
    is_folder = str(output).endswith(("/", os.sep)) or is_folder_at(path)
    return (path, DEFAULT_PATTERN) if is_folder else None


def check_folder(
    folder: Path, source: Path, pattern: str = DEFAULT_PATTERN, *, overwrite: bool = False
) -> None:
    """Check that numbered pictures can be written to a folder without damage to what exists.

    Args:
        folder: the folder, which need not exist.
        source: what the pictures are made from.
        pattern: the names of the pictures.
        overwrite: whether files with such names may be replaced.

    Raises:
        OutputError: it is not a folder, a link, holds the source, or is not empty; with `overwrite`, such
            pictures don't count.
    """
    try:
        if folder.is_symlink():
            raise OutputError(f"{folder} is a link: name the folder that it leads to.")
        if not folder.exists():
            return
        if not folder.is_dir():
            raise OutputError(f"{folder} is not a folder: choose another name.")
        if _holds_source(folder, source):
            raise OutputError(f"{folder} holds the source itself: choose another folder.")
        names = (name for name in all_names(folder) if not is_hidden_name(name))
        others = [name for name in names if not (overwrite and _is_replaceable(folder / name, pattern))]
    except OSError as error:
        raise OutputError(f"{folder} can't be written: {error.strerror}.") from error
    if others:
        raise OutputError(f"{folder} is not empty (it holds {others[0]}): name a new or an empty folder.")


def _holds_source(folder: Path, source: Path) -> bool:
    """Return whether the numbered pictures that are a source lie in a folder."""
    if source.is_file() or not folder.exists():
        return False
    pictures = source if source.is_dir() else source.parent
    return pictures.exists() and pictures.samefile(folder)


def _is_replaceable(path: Path, pattern: str) -> bool:
    return match_number(path.name, pattern) is not None and path.is_file() and not path.is_symlink()


def write_pictures(
    packets: Iterable["Packet[Any]"],
    folder: Path,
    pattern: str = DEFAULT_PATTERN,
    *,
    overwrite: bool = False,
    like: Path | None = None,
) -> None:
    """Write packets of PNG as numbered pictures, all of them or none.

    Args:
        packets: one picture each, in the order in which they are shown.
        folder: the folder.
        pattern: the name of a file, with `%d` or `%06d` for its number.
        overwrite: whether files with such names are replaced.
        like: what they are made from; who may not read it may not read them.

    Raises:
        OutputError: the folder can't be written, or holds a file of such a name.
    """

    def replaces(name: str) -> bool:
        return overwrite and match_number(name, pattern) is not None

    with write_whole_folder(folder, like=like, replaces=replaces) as unfinished:
        _write(packets, unfinished, pattern)


def _write(packets: Iterable["Packet[Any]"], folder: Path, pattern: str) -> None:
    """Write files that are numbered from 1 on."""
    for number, packet in enumerate(packets, 1):
        with (folder / (pattern % number)).open("wb") as file:
            file.write(bytes(packet))
            file.flush()
            os.fsync(file.fileno())  # the folder is renamed when it is whole, and has to be so on the disk
