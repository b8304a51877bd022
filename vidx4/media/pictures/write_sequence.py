"""Numbered pictures as an output."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from av.packet import Packet

from vidx4.errors import OutputError
from vidx4.media.pictures.read_sequence import PATTERN, SUFFIXES, all_names, match_number

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
    if PATTERN.search(path.name) and path.suffix.lower() in SUFFIXES:
        if path.suffix.lower() != ".png":
            raise OutputError(f"Numbered pictures are PNG files: let {path.name} end with .png.")
        return path.parent, path.name
    is_folder = str(output).endswith(("/", os.sep)) or path.is_dir()
    return (path, DEFAULT_PATTERN) if is_folder else None


def check_folder(folder: Path, pattern: str = DEFAULT_PATTERN, *, overwrite: bool = False) -> None:
    """Check that numbered pictures can take the place of a folder.

    Raises:
        OutputError: it is not a folder, or not empty; with `overwrite`, such pictures don't count.
    """
    try:
        if not folder.exists():
            return
        if not folder.is_dir():
            raise OutputError(f"{folder} is not a folder: choose another name.")
        others = [name for name in all_names(folder) if not overwrite or match_number(name, pattern) is None]
    except OSError as error:
        raise OutputError(f"{folder} can't be written: {error.strerror}.") from error
    if others:
        raise OutputError(f"{folder} is not empty (it holds {others[0]}): name a new or an empty folder.")


def write_sequence(packets: Iterable["Packet[Any]"], folder: Path, pattern: str = DEFAULT_PATTERN) -> None:
    """Write packets of PNG to a folder, as files that are numbered from 1 on.

    Args:
        packets: one picture each, in the order in which they are shown.
        folder: the folder, which exists.
        pattern: the name of a file, with `%d` or `%06d` for its number.

    Raises:
        OSError: a file can't be written.
    """
    for number, packet in enumerate(packets, 1):
        with (folder / (pattern % number)).open("wb") as file:
            file.write(bytes(packet))
            file.flush()
            os.fsync(file.fileno())  # the folder is renamed when it is whole, and has to be so on the disk
