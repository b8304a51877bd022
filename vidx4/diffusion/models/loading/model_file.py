"""Models that are a single file of weights, which may come from anywhere: find and read one."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from vidx4.diffusion.device import dtype_name
from vidx4.diffusion.models.loading.pytorch_files import OLD_MAGIC, read_pytorch_file
from vidx4.diffusion.models.loading.weights import (
    MAX_TENSORS,
    TYPES,
    Stored,
    check_room,
    converted,
    stored_in,
)
from vidx4.errors import ModelError, UnknownModelError
from vidx4.files.read import open_file

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
_OF_LAYERS = (".weight", ".bias")
"""What names of weights end in that are never whole numbers, such as indices."""
_MAX_NAME_LENGTH = 200
_HEAD_SIZE = 512
"""Bytes that tell files of other kinds from models."""
_HUGE_NUMBER = re.compile(r"\d{4}")
"""What no number of a layer looks like: the deepest published networks have a few hundred."""
_PAGES = (b"<!doctype html", b"<html", b"<head", b"<?xml")
"""What web pages begin with."""
_POINTER = b"version https://git-lfs.github.com/"
"""What files begin with that Git LFS has not replaced by what they stand for."""
_ZIP = b"PK\x03\x04"


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
        UnknownModelError: there is no such file.
        ModelError: it is not regular, or of a kind that can't be used.
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
        raise UnknownModelError(f"There is no file {name}.")
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
    size = _size(path)
    if path.suffix.lower() == SAFETENSORS:
        found = _safetensors(path)
    else:
        content = read_pytorch_file(path, size)
        try:
            content = unwrapped(content)
        except Exception:  # names that are no text, or whatever else the library does not expect
            content = {}
        found = _pickled(path, content)
    if not found.shapes:
        raise ModelError(f"{path} can't be used: it holds no weights.")
    for name, each in found.shapes.items():
        _check_name(path, name, each)
    return found


def _size(path: Path) -> int:
    """Return the bytes of a file that may be a model; raise a `ModelError` if it is something else."""
    try:
        with open_file(path) as file:
            head = file.read(_HEAD_SIZE)
            size = file.seek(0, 2)
        str(path).encode()
    except OSError as error:
        raise ModelError(f"{path} can't be read: {error.strerror or error}.") from error
    except UnicodeEncodeError as error:  # the libraries take no such names
        raise ModelError(f"{path} can't be used: its name is no valid Unicode. Rename it.") from error
    if why := _disguise(path, head, size):
        raise ModelError(f"{path} can't be used: {why}.")
    check_room(path, size)
    return size


def _check_name(path: Path, name: str, tensor: Tensor) -> None:
    """Check that a name stands for no more layers than a network has, and for numbers of their type."""
    if len(name) > _MAX_NAME_LENGTH or _HUGE_NUMBER.search(name):
        raise ModelError(f"{path} can't be used: {name[:60]!r} is no name of weights.")
    if name.endswith(_OF_LAYERS) and not tensor.is_floating_point():  # of other names, the network tells
        raise ModelError(
            f"{path} can't be used: its weights {name[:60]} are {dtype_name(tensor.dtype)}, but they must be "
            "plain floating-point numbers."
        )


def _disguise(path: Path, head: bytes, size: int) -> str:
    """Return what a file is that has the name of a model, by its beginning; empty if it may be one."""
    if head.lstrip().lower().startswith(_PAGES):
        return "it is a web page. Download the model itself"
    if head.startswith(_POINTER):
        return "it is a pointer of Git LFS. Fetch the model with git lfs pull"
    is_safetensors = 2 <= int.from_bytes(head[:8], "little") <= size - 8 and head[8:9] == b"{"
    if path.suffix.lower() != SAFETENSORS and is_safetensors:
        return f"it is a file of safetensors. Rename it to {path.stem}{SAFETENSORS}"
    if path.suffix.lower() == SAFETENSORS and head.startswith((_ZIP, OLD_MAGIC)):
        return f"it is a file of PyTorch. Rename it to {path.stem}{PICKLED[0]}"
    return ""


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
    if tensor.device.type != "cpu":  # the meta device
        raise ModelError(f"{path} can't be used: it holds no numbers of its weights {name[:60]}.")
    if tensor.numel() * tensor.itemsize > tensor.untyped_storage().nbytes():
        raise ModelError(f"{path} can't be used: it does not hold all numbers of its weights {name[:60]}.")


def _numbers(path: Path, weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return weights in memory of their own, floating-point numbers in a type, others as they are."""
    return {
        name: converted(path, name, each, dtype) if each.is_floating_point() else each.clone()
        for name, each in weights.items()
    }
