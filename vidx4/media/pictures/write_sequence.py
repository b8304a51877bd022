"""Numbered pictures as an output."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from av.packet import Packet

from vidx4.errors import OutputError
from vidx4.files.write import write_whole_folder
from vidx4.media.pictures.read_sequence import (
    SUFFIXES,
    is_pattern,
    match_number,
)

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
