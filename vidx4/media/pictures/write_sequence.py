"""Numbered pictures as an output: a folder that appears whole or not at all."""

import errno
import os
import shutil
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

from av.packet import Packet

from vidx4.errors import DiskFullError, OutputError
from vidx4.media.pictures.read_sequence import PATTERN, SUFFIXES, all_names, match_number

DEFAULT_PATTERN = "%06d.png"
"""How numbered pictures are called that are written."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


def split_output(output: str | Path) -> tuple[Path, str] | None:
    """Return the folder and the pattern where an output stands for numbered pictures, else None.

    That is a path that ends with a slash, a folder that exists, or `frames/%06d.png`.

    Raises:
        OutputError: the pattern is not one of PNG files.
    """
    path = Path(output)
    if PATTERN.search(path.name) and path.suffix.lower() in SUFFIXES:
        if path.suffix.lower() != ".png":
            raise OutputError(f"Numbered pictures are written as PNG: {path.name} should end with .png.")
        return path.parent, path.name
    is_folder = str(output).endswith(("/", os.sep)) or path.is_dir()
    return (path, DEFAULT_PATTERN) if is_folder else None


def check_folder(folder: Path, pattern: str = DEFAULT_PATTERN, *, overwrite: bool = False) -> None:
    """Make sure that numbered pictures can take the place of a folder.

    Raises:
        OutputError: it is no folder, or holds something; with `overwrite`, other than such pictures.
    """
    try:
        if not folder.exists():
            return
        if not folder.is_dir():
            raise OutputError(f"{folder} is a file: name a folder.")
        others = [name for name in all_names(folder) if not overwrite or match_number(name, pattern) is None]
    except OSError as error:
        raise OutputError(f"{folder} can't be written: {error.strerror}.") from error
    if others:
        raise OutputError(f"{folder} holds {others[0]} already: name a new or an empty folder.")


def write_sequence(
    packets: Iterable["Packet[Any]"],
    folder: Path,
    pattern: str = DEFAULT_PATTERN,
    first: int = 1,
    *,
    overwrite: bool = False,
) -> int:
    """Write packets of PNG as numbered files; their folder appears whole or not at all.

    Args:
        packets: each holds a picture, in the order in which they are shown.
        folder: must not exist, or be empty.
        pattern: how files are called, with `%d` or `%06d` for the number.
        first: the number of the first.
        overwrite: whether a folder that only holds such pictures is replaced.

    Returns:
        The number of pictures.

    Raises:
        DiskFullError: there is no room for them.
        OutputError: the folder can't be written for another reason.
    """
    check_folder(folder, pattern, overwrite=overwrite)
    mark = sha256(os.fsencode(folder.name)).hexdigest()[:16]
    unfinished, old = (folder.absolute().parent / f".{mark}.{state}" for state in ("unfinished", "old"))
    number = first - 1
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for number, packet in enumerate(packets, first):
            _write_safely(unfinished / (pattern % number), bytes(packet))
        _take_place(unfinished, folder, old)
    except OSError as error:
        kind = DiskFullError if error.errno in _FULL else OutputError
        raise kind(f"{folder} can't be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return number - first + 1


def _take_place(unfinished: Path, folder: Path, old: Path) -> None:
    _flush(unfinished)
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)  # of a run that was killed just here
        folder.replace(old)
    try:
        unfinished.replace(folder)
    except OSError:
        if old.exists():
            old.replace(folder)
        raise
    _flush(folder.absolute().parent)
    shutil.rmtree(old, ignore_errors=True)


def _write_safely(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
