"""What a simulated device counts: bytes, operations, and waits, by stage."""

import weakref
from collections import Counter

import torch
from torch import Tensor

STAGES = ("denoise", "decode", "finish", "other")
"""Stages of the work on a frame; `other` is whatever is in none of the first three."""


class Memory:
    """Bytes of the storages on a device.

    Attributes:
        live: bytes of the storages that exist.
        peaks: the most bytes that existed at once, by stage.
    """

    def __init__(self) -> None:
        self.live = 0
        self.peaks: Counter[str] = Counter()
        self._known: set[int] = set()

    @property
    def peak(self) -> int:
        """The most bytes that existed at once, in all stages."""
        return max(self.peaks.values(), default=0)

    def add(self, tensor: Tensor, stage: str) -> None:
        """Count the storage of a tensor for as long as it exists, unless it is counted already."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.live += size
            weakref.finalize(storage, self._remove, key, size).atexit = False
        self.peaks[stage] = max(self.peaks[stage], self.live)

    def need(self, size: int, stage: str) -> None:
        """Count bytes that exist only while an operation works."""
        self.peaks[stage] = max(self.peaks[stage], self.live + size)

    def reset(self) -> None:
        """Forget the peaks."""
        self.peaks.clear()

    def _remove(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


def num_bytes(tensor: Tensor) -> int:
    """Return the bytes of a tensor's elements."""
    return tensor.numel() * tensor.element_size()


def is_on_gpu(device: object) -> bool:
    """Return whether a device, or the name of one, is a GPU."""
    return isinstance(device, str | torch.device) and torch.device(device).type == "cuda"
