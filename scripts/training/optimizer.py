"""The optimisers of a network: AdamW, and for the kernels of its blocks Muon, if the recipe says so."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from scripts.training.config import Config
from vidx4.diffusion.models.networks.compact_denoiser import CompactDenoiser

DECAY = 0.01
"""Decay of the weights at a learning rate of 1, in each update."""


class FlatKernel(nn.Module):
    """A kernel that is kept as a matrix, one row for each output, as Muon takes it."""

    def __init__(self, kernel: Tensor) -> None:
        super().__init__()
        self._shape = kernel.shape[1:]

    def forward(self, matrix: Tensor) -> Tensor:
        """Return the kernel, (O, I, 3, 3), of a matrix, (O, 9 I)."""
        kernel: Tensor = matrix.unflatten(1, self._shape)
        return kernel.contiguous(memory_format=torch.channels_last)

    def right_inverse(self, kernel: Tensor) -> Tensor:
        """Return the matrix of a kernel."""
        return kernel.flatten(1)


def flatten_kernels(model: CompactDenoiser) -> list[nn.Parameter]:
    """Keep the kernels of all blocks as matrices; return these."""
    convs = [module for module in model.blocks.modules() if isinstance(module, nn.Conv2d)]
    for conv in convs:
        parametrize.register_parametrization(conv, "weight", FlatKernel(conv.weight))
    parameters = dict(model.blocks.named_parameters())
    return [each for name, each in parameters.items() if name.endswith(".weight.original")]


class Optimizer:
    """The optimisers of a network, with one schedule for all their learning rates.

    Muon (Jordan et al. 2024) makes the update of a matrix orthogonal, scaled so that its size is what AdamW's
    would be (Liu et al. 2025).

    Args:
        model: the network.
        config: settings of the run.
        matrices: those of its parameters that are Muon's.
    """

    def __init__(self, model: nn.Module, config: Config, matrices: Sequence[nn.Parameter] = ()) -> None:
        others = [each for each in model.parameters() if all(each is not matrix for matrix in matrices)]
        self._optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, config.learning_rate, (0.9, 0.99), weight_decay=DECAY, fused=True)
        ]
        if matrices:
            muon = torch.optim.Muon(
                matrices, config.kernel_rate, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw"
            )
            self._optimizers.append(muon)
        for group in self._groups():
            group["peak"] = group["lr"]

    def step(self, share: float) -> None:
        """Change the weights at a share of the highest learning rates, and forget the gradients."""
        for group in self._groups():
            group["lr"] = share * group["peak"]
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for optimizer in self._optimizers:
            optimizer.zero_grad()

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the states of all."""
        return [optimizer.state_dict() for optimizer in self._optimizers]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Resume from their states."""
        for optimizer, state in zip(self._optimizers, states, strict=True):
            optimizer.load_state_dict(state)

    def _groups(self) -> Iterator[dict[str, Any]]:
        return chain.from_iterable(optimizer.param_groups for optimizer in self._optimizers)
