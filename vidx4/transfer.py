"""Copies between the host's memory and a GPU's, for which the host does not wait."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device, with its type unchanged: pixels take a quarter of what their signal takes.

    A GPU copies from pinned memory while the host prepares what comes next. From other memory, the driver
    would first wait for all work that the GPU has been given before.

    Args:
        tensor: a tensor of the host or, to no effect, of the device.
        device: where it should be.
    """
    if device.type != "cuda" or tensor.device.type == "cuda":
        return tensor.to(device)
    # PyTorch keeps the pinned memory until the copy is done, and for the next tensor of its size.
    return _pinned(tensor.shape, tensor.dtype).copy_(tensor).to(device, non_blocking=True)


class Downloads:
    """Copies of finished frames to the host, beside the work on the next ones.

    Args:
        device: where the frames are.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    @cached_property
    def _stream(self) -> torch.cuda.Stream:
        return torch.cuda.Stream(self._device)

    def start(self, frames: Sequence[Tensor]) -> "Download":
        """Begin to copy frames of one shape and type, (3, H, W) each; a CPU has them at once."""
        if self._device.type != "cuda":
            return Download(torch.stack([*frames]).cpu())
        # Encoders take pixel after pixel: to rearrange them takes a core longer than converting the colours.
        packed = [frame.permute(1, 2, 0).contiguous() for frame in frames]
        data = _pinned((len(packed), *packed[0].shape), packed[0].dtype)
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            for place, frame in zip(data, packed, strict=True):
                place.copy_(frame, non_blocking=True)
            event = torch.cuda.Event(blocking=True)  # a thread that waits leaves the core to the encoder
            event.record(self._stream)
        return Download(data.permute(0, 3, 1, 2), event, packed)


class Download:
    """Frames on their way to the host.

    Args:
        data: where they arrive, (N, 3, H, W).
        event: what happens when they have arrived; None if they have.
        frames: where they come from: if this memory were freed, the GPU would use it for the next frame.
    """

    def __init__(
        self, data: Tensor, event: torch.cuda.Event | None = None, frames: Sequence[Tensor] = ()
    ) -> None:
        self.data = data
        self._event = event
        self._frames = frames

    @property
    def is_done(self) -> bool:
        """Whether the frames are known to have arrived."""
        return self._event is None

    def wait(self) -> None:
        """Wait until the frames have arrived, or raise the error that kept the GPU from finishing them."""
        if self._event is not None:
            self._event.synchronize()
        self._event, self._frames = None, ()


def _pinned(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty(tuple(shape), dtype=dtype, pin_memory=True)
