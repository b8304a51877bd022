"""Models that are a single file of weights, which may come from anywhere: find and read one."""

import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from vidx4.diffusion.device_errors import is_out_of_memory
from vidx4.diffusion.models.loading.weights import (
    MAX_HEADER_SIZE,
    MAX_TENSORS,
    TYPES,
    Stored,
    check_room,
    converted,
    stored_in,
)
from vidx4.errors import ModelError
from vidx4.files.read import open_file

INSTALL = "pip install 'vidx4[community]'"
"""The command that installs what reads the networks of such files."""
SAFETENSORS = ".safetensors"
PICKLED = (".pth", ".pt", ".ckpt")
SUFFIXES = (SAFETENSORS, *PICKLED)
"""Suffixes of files that are models."""
_OTHERS = (".onnx", ".bin", ".param", ".pkl", ".engine", ".trt", ".gguf")
"""Suffixes of files of models that can't be used."""
_INTEGERS = {
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Types of what else a network stores, such as indices, by their names in safetensors."""
_TYPES = TYPES | _INTEGERS
_TABLE = ".rpe_biases"
"""Name of the tables of floating-point numbers that DAT's sizes follow from."""
_MAX_TABLE = 10_000
"""Most numbers of such a table."""
_MAX_NAME_LENGTH = 200
_HUGE_NUMBER = re.compile(r"\d{4}")
"""What no number of a layer looks like: the deepest published networks have a few hundred."""
_SCRIPT = re.compile(r"[^/]+/(?:constants\.pkl|code/.*)")
"""Entries of TorchScript files."""
_CONVERT = "convert it to safetensors where it was made (docs/models.md tells how)"


@dataclass(frozen=True)
class ModelFile:
    """The description of a file of weights, read without the weights."""

    path: Path
    shapes: Mapping[str, Tensor]
    """Its tensors by name, on the meta device except for small tables that networks are described by."""
    notes: Mapping[str, str]
    """What the file says of itself; by nobody checked."""
    read: Callable[[torch.dtype], dict[str, Tensor]]
    """Reads the weights in a type; raises a `ModelError` if it has no room for them."""


def is_model_file(name: str) -> bool:
    """Return whether the name of a model is that of a file: never a folder, nor a repository of the hub."""
    return PurePath(name).suffix.lower() in SUFFIXES


def local_file(name: str) -> Path | None:
    """Return the file that the name of a model stands for; None if it is not the name of a file.

    Raises:
        ModelError: the file is missing, is not regular, or is of a kind that can't be used.
    """
    suffix = PurePath(name).suffix.lower()
    if suffix not in (*SUFFIXES, *_OTHERS):
        return None
    try:
        path = Path(name).expanduser()
        exists, is_folder = path.exists(), path.is_dir()
    except (OSError, RuntimeError, ValueError):  # too long a name, an unknown user, or a zero byte
        return None
    if suffix in _OTHERS:
        if exists and not is_folder:
            raise ModelError(f"{name} can't be used: a model's file is one of {', '.join(SUFFIXES)}.")
        return None
    if not exists:
        raise ModelError(f"There is no file {name}.")
    if is_folder:
        raise ModelError(f"{name} is a folder, but a model whose name ends in {suffix} must be a file.")
    return path


def read_model_file(path: Path, unwrapped: Callable[[dict[Any, Any]], dict[Any, Any]]) -> ModelFile:
    """Read the description of a file of weights.

    Args:
        path: the file.
        unwrapped: removes the wrappers and prefixes that programs add when they store weights.

    Raises:
        ModelError: it can't be read, is damaged, too large, or would have to be run as a program.
    """
    try:
        with open_file(path) as file:
            size = file.seek(0, 2)
    except OSError as error:
        raise ModelError(f"{path} can't be read: {error.strerror or error}.") from error
    check_room(path, size)
    if path.suffix.lower() == SAFETENSORS:
        found = _safetensors(path)
    else:
        content = _unpickled(path, size)
        try:
            content = unwrapped(content)
        except AttributeError:  # names that are no text
            content = {}
        found = _pickled(path, content)
    if not found.shapes:
        raise ModelError(f"{path} can't be used: it holds no weights.")
    for name in found.shapes:
        if len(name) > _MAX_NAME_LENGTH or _HUGE_NUMBER.search(name):
            raise ModelError(f"{path} can't be used: {name[:60]!r} is no name of weights.")
    return found


def _safetensors(path: Path) -> ModelFile:
    shapes = {each.name: _shape(each) for each in stored_in(path)}

    def read(dtype: torch.dtype) -> dict[str, Tensor]:
        with safe_open(path, framework="pt") as file:
            return _numbers(path, {name: file.get_tensor(name) for name in shapes}, dtype)

    with safe_open(path, framework="pt") as file:
        notes = file.metadata() or {}
        tables = {name: file.get_tensor(name) for name, each in shapes.items() if _is_table(name, each)}
    return ModelFile(path, shapes | tables, notes, read)


def _is_table(name: str, tensor: Tensor) -> bool:
    """Return whether a network may be described by the numbers of a tensor, not by its shape alone."""
    is_named = not tensor.is_floating_point() or name.endswith(_TABLE)
    return is_named and tensor.numel() <= _MAX_TABLE


def _shape(stored: Stored) -> Tensor:
    """Return a tensor on the meta device like one that is stored."""
    if stored.type not in _TYPES:
        raise ModelError(
            f"{stored.path} can't be used: its weights {stored.name[:60]} are of the type {stored.type}, but "
            f"they "
            "must be plain floating-point numbers."
        )
    return torch.empty(tuple(stored.shape), dtype=_TYPES[stored.type], device="meta")


def _pickled(path: Path, found: dict[Any, Any]) -> ModelFile:
    weights = {
        name: each for name, each in found.items() if isinstance(each, Tensor) and isinstance(name, str)
    }
    if len(weights) > MAX_TENSORS:
        raise ModelError(f"{path} can't be used: it holds more than {MAX_TENSORS:,} weights.")
    for name, tensor in weights.items():
        _check_tensor(path, name, tensor)
    shapes = {
        name: each if _is_table(name, each) else torch.empty_like(each, device="meta")
        for name, each in weights.items()
    }
    return ModelFile(path, shapes, {}, lambda dtype: _numbers(path, weights, dtype))


def _check_tensor(path: Path, name: str, tensor: Tensor) -> None:
    """Check that a tensor is plain, and no larger than what is stored of it."""
    if tensor.layout != torch.strided or tensor.dtype not in _TYPES.values():
        raise ModelError(f"{path} can't be used: its weights {name[:60]} are not plain numbers.")
    if tensor.numel() * tensor.itemsize > tensor.untyped_storage().nbytes():
        raise ModelError(f"{path} can't be used: it does not hold all numbers of its weights {name[:60]}.")


def _unpickled(path: Path, size: int) -> dict[Any, Any]:
    """Return the content of a file of PyTorch, which is read as data and never run."""
    is_zip = zipfile.is_zipfile(path)
    if is_zip:
        _check_entries(path, size)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
        return found if isinstance(found, dict) else {}
    except UnpicklingError as error:
        raise ModelError(
            f"{path} can't be used: to read all of it, code of its own would have to run; {_CONVERT}."
        ) from error
    except Exception as error:  # whatever a damaged file leads to
        if is_out_of_memory(error):
            raise
        raise ModelError(f"{path} can't be read as a file of PyTorch: it is damaged.") from error


def _check_entries(path: Path, size: int) -> None:
    """Check the entries of a ZIP file: that they are weights, and take no more room than the file does."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path} can't be read as a file of PyTorch: it is damaged.") from error
    if any(_SCRIPT.fullmatch(each.filename) for each in entries):
        raise ModelError(f"{path} can't be used: it is TorchScript, a program; {_CONVERT}.")
    descriptions = sum(each.file_size for each in entries if each.filename.endswith(".pkl"))
    is_inflated = sum(each.file_size for each in entries) > size
    if is_inflated or descriptions > MAX_HEADER_SIZE or len(entries) > 2 * MAX_TENSORS:
        raise ModelError(f"{path} can't be used: it would take more memory than weights do.")


def _numbers(path: Path, weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return weights in memory of their own, floating-point numbers in a type, others as they are."""
    return {
        name: converted(path, name, each, dtype) if each.is_floating_point() else each.clone()
        for name, each in weights.items()
    }
