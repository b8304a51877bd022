"""Whether an output can be written to a place without damage to what exists."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

from vidx4.errors import OutputError, SourceError
from vidx4.files.read import is_folder_at, is_regular
from vidx4.files.remains import is_hidden_name
from vidx4.files.windows_names import why_not
from vidx4.media.pictures.read_sequence import (
    SUFFIXES,
    all_names,
    find_sequence,
    is_pattern,
    is_sequence,
    match_number,
)
from vidx4.media.pictures.write_sequence import DEFAULT_PATTERN

IsOther = Callable[[Path], bool]
"""Returns whether a file is a work of its own, and no earlier result from the same source."""


def never(_: Path) -> bool:
    """Take any file for an earlier result."""
    return False


def check_writable(output: Path, source: Path, overwrite: bool, is_other: IsOther = never) -> None:
    """Check that an output can be written without damage to what exists.

    Args:
        output: the file.
        source: what it is made from: a file, or a folder or a pattern of numbered pictures.
        overwrite: whether a file that exists may be replaced.
        is_other: tells whether that file is a work of its own, which is not replaced even so.

    Raises:
        OutputError: the output exists and may not be overwritten, is the source or one of its pictures, or
            can't be written.
    """
    try:
        if output.is_dir():
            raise OutputError(f"{output} is a folder: name a file in it.")
        if output.exists() and _is_source(output, source):
            raise OutputError(f"{output} is the source itself: choose another name.")
        if output.exists() and not output.is_file():
            raise OutputError(f"{output} is a device or a pipe: choose another name.")
        if is_regular(output) and is_other(output):
            raise OutputError(
                f"{output} already exists, and was not made from {source}. To enlarge both, use vidx4 batch; "
                "to replace it, name it by --output, and use --overwrite."
            )
        if os.path.lexists(output) and not overwrite:
            raise OutputError(f"{output} already exists: choose another name, or use --overwrite.")
        check_folder_of(output)
    except (OSError, ValueError) as error:
        raise OutputError(f"{output} can't be written: {getattr(error, 'strerror', error)}.") from error


def _is_source(output: Path, source: Path) -> bool:
    if any(each.exists() and each.samefile(output) for each in _linked_pictures(source)):
        return True
    if source.is_dir():
        return output.suffix.lower() in SUFFIXES and output.parent.samefile(source)
    if source.exists():
        return output.samefile(source)
    is_member = is_pattern(source.name) and match_number(output.name, source.name) is not None
    return is_member and output.parent.samefile(source.parent)


def _linked_pictures(source: Path) -> set[Path]:
    """Return the files that pictures of a source lead to which are links."""
    with suppress(SourceError):  # a folder of a batch may hold anything
        return find_sequence(source).linked_files() if is_sequence(source) else set()
    return set()


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


def check_folder_of(output: Path) -> None:
    """Check that files can be made in the folder of an output, or in the one that it will be made in.

    Raises:
        OutputError: they can't.
    """
    if sys.platform == "win32" and (why := why_not(output.absolute())):
        raise OutputError(f"{output} can't be written: {why}. Choose another name.")
    folder = next((each for each in output.absolute().parents if os.path.lexists(each)), None)
    if folder is not None and not is_folder_at(folder):
        raise OutputError(f"{output} can't be written: {folder} is not a folder.")
    try:
        # Permissions don't tell: the file system may be read-only, or have rules of its own.
        with TemporaryFile(dir=folder):
            return
    except OSError as error:
        raise OutputError(
            f"{output} can't be written: nothing can be written to {folder} ({error.strerror}). Name an "
            "output elsewhere."
        ) from error
