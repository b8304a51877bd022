"""What PyTorch, without a GPU, answers with an error before it becomes an operation."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

GPU = torch.device("cuda", 0)
_CUDA, _META = 1, 14
"""Numbers of kinds of devices in PyTorch's `c10/core/DeviceType.h`."""


class Indexed(TorchFunctionMode):
    """Gives the GPU its index, which PyTorch would ask the driver for."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.device:
            return func(*args, **(kwargs or {}))
        kwargs = {key: _with_index(value) for key, value in (kwargs or {}).items()}
        return func(*map(_with_index, args), **kwargs)


def _with_index(value: Any) -> Any:
    if isinstance(value, torch.device):
        return GPU if value.type == "cuda" else value
    return GPU if isinstance(value, str) and value in ("cuda", "cuda:0") else value


@contextmanager
def without_guard() -> Iterator[None]:
    """Let a GPU become the current device without a driver, as long as the context lasts.

    A build of PyTorch without CUDA has no guard for such devices, and methods like indexing ask for one. The
    guard of devices without numbers does nothing.
    """
    guards = _guards()
    before = guards[_CUDA]
    guards[_CUDA] = guards[_META]
    try:
        yield
    finally:
        guards[_CUDA] = before


def _guards() -> Any:
    folder = Path(torch.__file__).parent / "lib"
    library = next(path for path in folder.iterdir() if path.name in ("libc10.so", "libc10.dylib"))
    symbol = "_ZN3c104impl26device_guard_impl_registryE"
    return (ctypes.c_void_p * (_META + 1)).in_dll(ctypes.CDLL(str(library)), symbol)
