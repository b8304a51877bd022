"""Weights of networks: safetensors whose names and shapes are compared with the network before all else."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vidx4.diffusion.device import dtype_name
from vidx4.diffusion.device_errors import is_out_of_memory
from vidx4.diffusion.host import total_memory
from vidx4.diffusion.models.loading.folder import own_file
from vidx4.diffusion.models.loading.weight_files import weight_files
from vidx4.errors import ModelError
from vidx4.files.read import open_file
from vidx4.syntax import format_disk

MAX_HEADER_SIZE = 16 << 20
"""Most bytes of names and shapes in a file of weights: a hundred times what the published models have."""
MAX_TENSORS = 10_000
"""Most tensors of a part: ten times those of the published models. To find one takes longer with each."""
TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Types of weights, by their names in safetensors."""
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Layers of attention as older versions of diffusers named them, and as they are named now."""
_IN_ATTENTION = re.compile(rf"(\.attentions\.\d+\.)({'|'.join(_OLD_ATTENTION)})(?=\.)")
_PREFIX = "text_model."
"""Prefix that some versions of transformers give all weights of a text encoder."""


@dataclass(frozen=True)
class Stored:
    """A tensor in a file."""

    path: Path
    name: str
    shape: Sequence[int]
    type: str


def load_weights(make: Callable[[], Any], folder: Path, part: str, dtype: torch.dtype, *, half: bool) -> Any:
    """Return a network with the weights of a part of a model.

    Args:
        make: makes the network.
        folder: the model's folder.
        part: the name of the part's folder in it.
        dtype: type of the weights from now on.
        half: whether to prefer float16 weights; they are also used if there are no others.

    Raises:
        ModelError: the weights are missing, incomplete, damaged, of another network, or too large.
    """
    with torch.device("meta"):  # takes no memory
        wanted = make().state_dict()
    stored = _stored(folder, weight_files(folder, part, half=half))
    found = {name: stored[_common(name)] for name in wanted if _common(name) in stored}
    _check(folder / part, wanted, found, dtype)
    with init_empty_weights(include_buffers=False):
        network = make()
    network.load_state_dict(_read(found, dtype), assign=True)
    return network


def _stored(folder: Path, names: Sequence[str]) -> dict[str, Stored]:
    """Return what is in files of weights, by the names that all versions of the libraries have in common."""
    stored: dict[str, Stored] = {}
    for name in names:
        for each in stored_in(own_file(folder, name), MAX_TENSORS - len(stored)):
            stored[_common(each.name)] = each
    return stored


def stored_in(path: Path, max_tensors: int = MAX_TENSORS) -> list[Stored]:
    """Return what is in a file of safetensors, by its header alone.

    Raises:
        ModelError: it is damaged, or holds too many tensors.
    """
    with _explained(path):
        _check_header(path)
        with safe_open(path, framework="pt") as file:
            keys = file.keys()
            if len(keys) > max_tensors:
                raise ModelError(f"{path} can't be used: it holds more than {MAX_TENSORS:,} weights.")
            slices = {key: file.get_slice(key) for key in keys}
            return [Stored(path, key, each.get_shape(), each.get_dtype()) for key, each in slices.items()]


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, SafetensorError) as error:
        if is_out_of_memory(error):  # files are mapped into it
            raise
        raise ModelError(f"{path} can't be read as safetensors: it is damaged.") from error


def _check_header(path: Path) -> None:
    """Check that the description of a file of weights is not too long; raise a `ValueError` if it is."""
    with open_file(path) as file:
        if int.from_bytes(file.read(8), "little") > MAX_HEADER_SIZE:
            raise ValueError("The header is too long.")


def _common(name: str) -> str:
    """Return the name of a tensor that all versions of the libraries have in common."""
    return _IN_ATTENTION.sub(lambda match: match[1] + _OLD_ATTENTION[match[2]], name.removeprefix(_PREFIX))


def _check(path: Path, wanted: Mapping[str, Tensor], found: Mapping[str, Stored], dtype: torch.dtype) -> None:
    """Check that all weights are there, of the right shapes, and fit the memory."""
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        raise ModelError(f"{path} lacks weights: {', '.join(missing[:3])}{' ...' if missing[3:] else ''}.")
    for name, each in found.items():
        if each.type not in TYPES or list(each.shape) != list(wanted[name].shape):
            raise ModelError(
                f"{path} can't be used: its weights {name} are {_described(each.type, each.shape)}, but they "
                f"must be floating-point numbers of the shape {_shape(wanted[name].shape)}."
            )
    check_room(path, dtype.itemsize * sum(each.numel() for each in wanted.values()))


def check_room(path: Path, size: int) -> None:
    """Make sure that the weights of a file, of a size in bytes, fit the memory.

    Raises:
        ModelError: they don't.
    """
    memory = total_memory()
    if size > memory:
        raise ModelError(
            f"{path} can't be used: its weights take {format_disk(size)}, but this machine has "
            f"{format_disk(memory)} of memory."
        )


def _described(dtype: str, shape: Sequence[int]) -> str:
    return f"{dtype} of the shape {_shape(shape)}"


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape[:6])) or "of a single number"


def _read(found: Mapping[str, Stored], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return tensors in memory of their own, so that a file that shrinks does no harm later."""
    tensors: dict[str, Tensor] = {}
    for path in {each.path for each in found.values()}:
        with safe_open(path, framework="pt") as file:
            for name, each in found.items():
                if each.path == path:
                    tensors[name] = converted(path, each.name, file.get_tensor(each.name), dtype)
    return tensors


def converted(path: Path, name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return weights of a file in a type.

    Raises:
        ModelError: the type has no room for their numbers, or these are not finite.
    """
    numbers = tensor.to(dtype, copy=True)
    if bool(numbers.sum(dtype=torch.float64).isfinite()):
        return numbers
    if bool(tensor.sum(dtype=torch.float64).isfinite()):
        raise ModelError(
            f"{path} can't be used in {dtype_name(dtype)}: its weights {name} exceed that. Use "
            "--dtype float32."
        )
    raise ModelError(f"{path} can't be used: its weights {name} are not finite.")
