"""Whether an output can be written to a place without damage to what exists."""

import os
from pathlib import Path

from vidx4.errors import OutputError
from vidx4.media.pictures.read_sequence import SUFFIXES, is_pattern, match_number


def check_writable(output: Path, source: Path, overwrite: bool) -> None:
    """Check that an output can be written without damage to what exists.

    Args:
        output: the file.
        source: what it is made from: a file, or a folder or a pattern of numbered pictures.
        overwrite: whether a file that exists may be replaced.

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
        if os.path.lexists(output) and not overwrite:
            raise OutputError(f"{output} already exists: choose another name, or use --overwrite.")
    except (OSError, ValueError) as error:
        raise OutputError(f"{output} can't be written: {getattr(error, 'strerror', error)}.") from error
    _check_folder(output)


def _is_source(output: Path, source: Path) -> bool:
    if source.is_dir():
        return output.suffix.lower() in SUFFIXES and output.parent.samefile(source)
    if source.exists():
        return output.samefile(source)
    is_member = is_pattern(source.name) and match_number(output.name, source.name) is not None
    return is_member and output.parent.samefile(source.parent)


def _check_folder(output: Path) -> None:
    """Check that files can be made in the folder of an output, or in the one that it will be made in."""
    folder = next((each for each in output.absolute().parents if os.path.lexists(each)), None)
    if folder is not None and not folder.is_dir():
        raise OutputError(f"{output} can't be written: {folder} is not a folder.")
    if folder is not None and not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{output} can't be written: {folder} can't be written to.")
