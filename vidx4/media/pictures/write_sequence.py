"""Numbered pictures as an output."""

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from av.packet import Packet

from vidx4.errors import OutputError
from vidx4.files.write import is_hidden_name, write_whole_folder
from vidx4.media.pictures.read_sequence import (
    SUFFIXES,
    all_names,
    find_sequence,
    is_pattern,
    is_sequence,
    match_number,
)
from vidx4.media.place import IsOther, check_folder_of, never

DEFAULT_PATTERN = "%06d.png"
"""The names of numbered pictures, if no others are given."""


def split_output(path: Path) -> tuple[Path, str] | None:
    """Return the folder and the pattern of an output of numbered pictures, such as `frames/%06d.png`.

    Returns:
        None for any other output.

    Raises:
        OutputError: the pattern is for files of another kind than PNG.
    """
    if not is_pattern(path.name) or path.suffix.lower() not in SUFFIXES:
        return None
    if path.suffix.lower() != ".png":
        raise OutputError(f"Numbered pictures are PNG files: let {path.name} end with .png.")
    return path.parent, path.name


def check_folder(
    folder: Path,
    source: Path,
    pattern: str = DEFAULT_PATTERN,
    *,
    overwrite: bool = False,
    is_other: IsOther = never,
) -> None:
    """Check that numbered pictures can be written to a folder without damage to what exists.

    Args:
        folder: the folder, which need not exist.
        source: what the pictures are made from.
        pattern: the names of the pictures.
        overwrite: whether files with such names may be replaced.
        is_other: tells whether such a file is a work of its own, which is not replaced even so.

    Raises:
        OutputError: it is not a folder, a link, holds the source, or is not empty; with `overwrite`, such
            pictures don't count. Or nothing can be written to it.
    """
    try:
        if folder.is_symlink():
            raise OutputError(f"{folder} is a link: name the folder that it leads to.")
        check_folder_of(folder / pattern)
        if not folder.exists():
            return
        if not folder.is_dir():
            raise OutputError(f"{folder} is not a folder: choose another name.")
        if _holds_source(folder, source):
            raise OutputError(f"{folder} holds the source itself: choose another folder.")
        names = (name for name in all_names(folder) if not is_hidden_name(name))
        may_replace = partial(_is_replaceable, pattern=pattern, is_other=is_other)
        others = [name for name in names if not (overwrite and may_replace(folder / name))]
    except OSError as error:
        raise OutputError(f"{folder} can't be written: {error.strerror}.") from error
    if others:
        raise OutputError(
            f"{folder} is not empty (it holds {others[0]}): name a new or an empty folder, as in "
            f"NEW/{pattern}."
        )


def _holds_source(folder: Path, source: Path) -> bool:
    """Return whether a source, or numbered pictures that are one, lie in a folder, be it by way of links."""
    if not is_sequence(source):
        return source.exists() and Path(os.path.realpath(source)).parent.samefile(folder)
    found = find_sequence(source)
    places = {found.folder, *(each.parent for each in found.linked_files())}
    return any(place.exists() and place.samefile(folder) for place in places)


def _is_replaceable(path: Path, pattern: str, is_other: IsOther) -> bool:
    is_picture = match_number(path.name, pattern) is not None and path.is_file() and not path.is_symlink()
    return is_picture and not is_other(path)


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
