"""What a network remembers from frame to frame, in training as in the program."""

from collections.abc import Iterator
from collections.abc import Sequence as Items
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scripts.training.sequences import Sequence
from scripts.training.stream import NUM_TIMESTEPS, Frame
from vidx4.diffusion.models.networks.compact_denoiser import Memory, ResidualAutoencoder
from vidx4.frames import SCALE
from vidx4.temporal.warp import Warp

LAST = NUM_TIMESTEPS - 1
"""Timestep of the first step."""
AUTOENCODER = ResidualAutoencoder()
_MEMORY = Memory(AUTOENCODER)


class Past(NamedTuple):
    """What a frame hands the next, slot by slot."""

    results: Tensor
    """Results, in [-1, 1], (N, 3, 4H, 4W)."""
    hidden: Tensor
    """Hidden states, (N, 64, H, W)."""


def conditions(frame: Frame, past: Past | None) -> Tensor:
    """Return all that a network is shown besides latents, (N, 3 + 113, H, W); gradients pass to the state."""
    if past is None:
        return torch.cat([frame.low_res, _MEMORY.blank(frame.low_res)], dim=1)
    with torch.no_grad():
        moved = Warp.along(frame.flow, frame.trust, SCALE).fetch(past.results)
    hidden = Warp.along(frame.flow, frame.trust, 1).fetch_features(past.hidden.float())
    return torch.cat([frame.low_res, _MEMORY(moved, hidden, frame.trust, frame.low_res)], dim=1)


def decode(latents: Tensor, low_res: Tensor) -> Tensor:
    """Return pictures, clamped to [-1, 1]."""
    pictures: Tensor = AUTOENCODER.decode(latents, low_res).clamp(-1, 1)
    return pictures


def restored(
    network: Any, sequences: Items[Sequence], levels: Tensor, textures: Tensor, num_frames: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield results of the first frames of sequences, in one step each, with their truths, in [-1, 1].

    Args:
        network: the network.
        sequences: the sequences, N.
        levels: their noise levels, (N,), on the network's device.
        textures: how much texture is wanted, (N,).
        num_frames: number of frames.
    """
    past, timestep = None, torch.full_like(levels, LAST)
    for index in range(num_frames):
        frame = _frame(sequences, index, levels.device)
        with torch.autocast(levels.device.type, torch.bfloat16):
            shown = conditions(frame, past)
            latents, hidden = network(shown, timestep, class_labels=levels, texture=textures)
        past = Past(decode(latents.float(), frame.low_res), hidden)
        yield past.results, frame.truth


def _frame(sequences: Items[Sequence], index: int, device: torch.device) -> Frame:
    def stacked(name: str, *place: int) -> Tensor:
        return torch.stack([getattr(each, name)[index, *place] for each in sequences]).to(device).float()

    truth, low_res = (stacked(name) / 127.5 - 1 for name in ("truth", "low_res"))
    return Frame(truth, low_res, stacked("flow", 0), stacked("trust", 0)[:, None] / 255)
