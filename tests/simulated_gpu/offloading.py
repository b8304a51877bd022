"""Offloading of weights, as accelerate does it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn


@contextmanager
def patched_offloading() -> Iterator[None]:
    """Let accelerate move weights without numbers, of whose class it can't make new ones."""
    with patch("accelerate.hooks.set_module_tensor_to_device", _place):
        yield


def _place(module: nn.Module, name: str, device: Any, value: Tensor | None = None, **_: Any) -> None:
    """Do as accelerate's `set_module_tensor_to_device`."""
    *path, last = name.split(".")
    owner = module.get_submodule(".".join(path))
    tensors: Any = owner._parameters if last in owner._parameters else owner._buffers
    old = tensors[last]
    source = old if value is None else value
    if str(device) == "meta":
        moved = torch.empty(old.shape, dtype=old.dtype, device="meta")
    else:
        moved = source.to(device)
    tensors[last] = nn.Parameter(moved, requires_grad=False) if tensors is owner._parameters else moved
