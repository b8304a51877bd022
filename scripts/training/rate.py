"""The rate at which a machine trains a convolution, to hold a training run against."""

import time

import torch
from torch import nn

_BATCH, _CHANNELS, _SIDE, _NUM_LAYERS = 8, 64, 48, 10


def training_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return operations a second of 3x3 convolutions in training; a multiply-add counts as two."""
    layers = [nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1) for _ in range(_NUM_LAYERS)]
    network = nn.Sequential(*layers).to(device)
    pictures = torch.randn(_BATCH, _CHANNELS, _SIDE, _SIDE, device=device)
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    seconds = min(_seconds(network, pictures, dtype) for _ in range(5))
    return 3 * operations(sum(parameter.numel() for parameter in network.parameters()), pictures) / seconds


def operations(num_parameters: int, pictures: torch.Tensor) -> float:
    """Return the operations of convolutions on pictures, (N, C, H, W)."""
    num, _, height, width = pictures.shape
    return 2.0 * num_parameters * num * height * width


def _seconds(network: nn.Module, pictures: torch.Tensor, dtype: torch.dtype) -> float:
    start, device = time.perf_counter(), pictures.device
    with torch.autocast(device.type, dtype):
        network(pictures).float().mean().backward()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
