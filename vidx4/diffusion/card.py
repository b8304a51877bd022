"""The rate of a GPU, measured in a moment, before anything is loaded."""

import time
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F

from vidx4.diffusion.device import device_name
from vidx4.diffusion.device_errors import device_errors

EFFICIENCY = 0.5
"""Share of the measured rate that a whole frame is taken to reach: an assumption, until it is measured on a
card."""
MEASURED_SECONDS = 0.2
"""How long the rate is measured, after warming up."""
NUM_AT_ONCE = 4
"""Convolutions between two looks at the clock, each of which waits for the device."""
CHANNELS, HEIGHT, WIDTH = 512, 120, 160
"""The field of the convolution: the second level of the denoiser of `sd-x4` at 320x240."""


@dataclass(frozen=True)
class Card:
    """A GPU, or several alike that share the work."""

    name: str
    rate: float
    """Operations a second of a convolution in the precision of the job; a multiply-add counts as two."""
    num_cards: int = 1

    def __str__(self) -> str:
        return self.name if self.num_cards == 1 else f"{self.num_cards} x {self.name}"

    def seconds(self, operations: float) -> float:
        """Return how long operations are expected to take."""
        return operations / (EFFICIENCY * self.rate * self.num_cards)


@cache
def measure_card(device: torch.device, dtype: torch.dtype) -> Card:
    """Measure the rate of a GPU, once in a process.

    Raises:
        MemoryLimitError: the GPU has no memory left.
        DeviceError: the GPU has failed.
    """
    with device_errors(device, f"{device} has too little free memory even to measure its speed."):
        return Card(device_name(device), convolution_rate(device, dtype))


@torch.inference_mode()
def convolution_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the operations a second that a device reaches in 3x3 convolutions, which most of the work is."""
    field = torch.zeros(1, CHANNELS, HEIGHT, WIDTH, device=device, dtype=dtype)
    weight = torch.zeros(CHANNELS, CHANNELS, 3, 3, device=device, dtype=dtype)
    field, weight = (each.to(memory_format=torch.channels_last) for each in (field, weight))

    def seconds_for_some() -> float:
        start = time.perf_counter()
        for _ in range(NUM_AT_ONCE):
            F.conv2d(field, weight, padding=1)
        _synchronize(device)
        return time.perf_counter() - start

    for _ in range(2):
        seconds_for_some()  # libraries are loaded, an algorithm is chosen, and the clock of the GPU rises
    times = [seconds_for_some()]
    while sum(times) < MEASURED_SECONDS:
        times.append(seconds_for_some())
    operations = 2.0 * 9 * CHANNELS**2 * HEIGHT * WIDTH * NUM_AT_ONCE
    return operations / min(times)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
