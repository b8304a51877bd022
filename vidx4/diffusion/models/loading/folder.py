"""The files of a model's folder, which may come from anywhere: regular ones of its own, and not too large."""

import json
from pathlib import Path
from typing import Any

from vidx4.errors import ModelError
from vidx4.files.read import MAX_TEXT_SIZE, is_regular, read_whole


def own_file(folder: Path, name: str) -> Path:
    """Return a file of a model's folder.

    Raises:
        ModelError: it is missing, not a regular file, or a link that leads out of the folder.
    """
    path = folder / name
    if not is_regular(path):
        raise ModelError(f"The model is incomplete: {path} is missing, or not a regular file.")
    if not _is_own(path, folder):
        raise ModelError(f"{path} is a link that leads out of the model's folder: put the file itself there.")
    return path


def _is_own(path: Path, folder: Path) -> bool:
    base = folder.resolve()
    owned = [base]
    if base.parent.name == "snapshots":
        # The cache of the hub keeps contents beside its folders, once for all revisions or all repositories.
        owned += [parent / "blobs" for parent in base.parents[1:3]]
    return any(path.resolve().is_relative_to(each) for each in owned)


def read_text(folder: Path, name: str, max_size: int = MAX_TEXT_SIZE) -> str:
    """Return the content of a text file of a model.

    Raises:
        ModelError: as for `own_file`, or it is too large, or no text.
    """
    path = own_file(folder, name)
    try:
        return read_whole(path, max_size).decode()
    except (OSError, ValueError) as error:
        raise _unreadable(path) from error


def read_json(folder: Path, name: str, max_size: int = MAX_TEXT_SIZE) -> dict[str, Any]:
    """Return the object in a JSON file of a model.

    Raises:
        ModelError: as for `read_text`, or it is damaged, or no object.
    """
    try:
        found = json.loads(read_text(folder, name, max_size))
    except (ValueError, RecursionError) as error:
        raise _unreadable(folder / name) from error
    if not isinstance(found, dict):
        raise _unreadable(folder / name)
    return found


def _unreadable(path: Path) -> ModelError:
    return ModelError(f"The model is incomplete: {path} can't be read.")
