"""What a network takes for a picture, found by running it without numbers: operations, and numbers held."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from vidx4.diffusion.models.operations import Operations

SIDES = (128, 256, 512)
"""Sides of the square pictures that a network is run on, in low-resolution pixels: multiples of what networks
ask for, far apart, and the last as large as a frame. That takes GRL most of a minute, which is spared where
the first two tell that there is no attention over whole frames."""
SMALL_SIDES = (64, 128)
"""The same for a network that has to be run with numbers, which takes time."""
NEGLIGIBLE = 1e-3
"""Share of the operations of a picture below which those by attention are none."""


@dataclass(frozen=True)
class Cost:
    """What a network takes for a picture."""

    operations: Operations
    values_per_pixel: int
    """Numbers that it holds at its peak for a low-resolution pixel, apart from its weights."""


def cost_of(run: Callable[[int], Any], sides: Sequence[int] = SIDES) -> Cost:
    """Measure what a network takes.

    Args:
        run: runs it on a square picture with sides of so many low-resolution pixels, on the meta device and
            in float32.
        sides: the sides of the pictures that it is run on, as many as it takes to know what grows.
    """
    first = _counted(run, sides[0])
    per_pair, values = 0.0, first.values_per_pixel
    # A network of convolutions alone takes the same for every pixel.
    for side in () if first.is_local else sides[1:]:
        larger = _counted(run, side)
        # What two pictures take tells what a pixel adds, and what a pair of pixels does, by attention.
        num_more = side**2 - sides[0] ** 2
        per_pair = max(0.0, (larger.operations_per_pixel - first.operations_per_pixel) / num_more)
        values = max(first.values_per_pixel, larger.values_per_pixel)
        if per_pair * sides[-1] ** 2 < NEGLIGIBLE * larger.operations_per_pixel:
            per_pair = 0.0
            if values == first.values_per_pixel:
                break
    return Cost(
        Operations(first.operations_per_pixel - per_pair * sides[0] ** 2, per_pair),
        values_per_pixel=round(values),
    )


def _counted(run: Callable[[int], Any], side: int) -> "_Counter":
    # Not in inference mode, in which products of matrices are not taken apart into what is counted.
    counter = _Counter(side**2)
    with torch.no_grad(), counter:
        run(side)
    return counter


class _Counter(TorchDispatchMode):
    """Counts operations as PyTorch does, and the bytes of the tensors that are made and still in use.

    Args:
        num_pixels: the low-resolution pixels of the picture.
    """

    def __init__(self, num_pixels: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.is_local = True
        """Whether all operations that are counted are convolutions."""
        self._num_pixels = num_pixels
        self._operations = self._peak = 0
        self._live: dict[StorageWeakRef, int] = {}

    @property
    def operations_per_pixel(self) -> float:
        """Operations for a low-resolution pixel."""
        return self._operations / self._num_pixels

    @property
    def values_per_pixel(self) -> float:
        """Numbers in float32 that are held at the peak for a low-resolution pixel."""
        return self._peak / torch.float32.itemsize / self._num_pixels

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if (count := flop_registry.get(func.overloadpacket)) is not None:
            self._operations += count(*args, **kwargs, out_val=result)
            self.is_local &= func.overloadpacket is torch.ops.aten.convolution
        self._follow(args, kwargs, result)
        return result

    def _follow(self, args: Any, kwargs: Any, result: Any) -> None:
        given = {_reference(each) for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
        made = [each for each in tree_leaves(result) if isinstance(each, Tensor)]
        new = {_reference(each): each.untyped_storage().nbytes() for each in made}
        if not new.keys() - given:
            return
        self._live = {each: size for each, size in self._live.items() if not each.expired()}
        self._live |= {each: size for each, size in new.items() if each not in given}
        self._peak = max(self._peak, sum(self._live.values()))


def _reference(tensor: Tensor) -> StorageWeakRef:
    return StorageWeakRef(tensor.untyped_storage())
