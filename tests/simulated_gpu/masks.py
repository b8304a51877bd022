"""Masks on the simulated device, whose values matter: the number of places that they select is a shape."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

aten = torch.ops.aten
_NEW = {aten.ones_like.default: True, aten.zeros_like.default: False}
_SELECTING = frozenset({aten.index.Tensor, aten.index_put.default, aten.index_put_.default})


class Masks:
    """The values of masks that no number on the device takes part in.

    Args:
        fake_mode: the mode of tensors without numbers.
        wait: counts a wait of the host for the device.
    """

    def __init__(self, fake_mode: FakeTensorMode, wait: Callable[[], None]) -> None:
        self._fake_mode, self._wait = fake_mode, wait

    def resolved(self, func: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the arguments of an operation with places instead of a mask that selects them."""
        if func not in _SELECTING:
            return args
        field, indices, *others = args
        places: list[Any] = []
        for index in indices:
            places += self._places(index) if _is_mask(index) else [index]
        return field, places, *others

    def _places(self, mask: FakeTensor) -> list[Tensor]:
        self._wait()
        values = _values(mask)
        count = mask.numel() // 2 if values is None else int(values.sum())
        with self._fake_mode:
            return [torch.empty(count, dtype=torch.int64, device=mask.device) for _ in mask.shape]

    def follow(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Do to the values of masks what an operation does to the masks."""
        if not _is_mask(result):
            return
        if func in _NEW:
            result.mask_values = torch.full(result.shape, _NEW[func])
            return
        values = [_values(each) if isinstance(each, FakeTensor) else each for each in args]
        if values and all(value is not None for value in values):
            options = {key: value for key, value in kwargs.items() if key != "device"}
            result.mask_values = func(*values, **options)


def _is_mask(value: Any) -> bool:
    return isinstance(value, FakeTensor) and value.dtype == torch.bool


def _values(mask: FakeTensor) -> Tensor | None:
    return getattr(mask, "mask_values", None)
