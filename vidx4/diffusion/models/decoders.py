"""Decoders that can take the place of a model's own: the tiny one of Stream-DiffVSR."""

from dataclasses import replace
from pathlib import Path

import torch

from vidx4.diffusion.models.components import LoadSettings, place
from vidx4.diffusion.models.known import STREAM_REPOSITORY, STREAM_REVISION
from vidx4.diffusion.models.loading.hub import cached_part
from vidx4.diffusion.models.loading.parts import load_network
from vidx4.diffusion.models.networks.tiny_autoencoder import TinyAutoencoder, decode_operations
from vidx4.diffusion.models.networks.tiny_network import TemporalAutoencoderTiny
from vidx4.diffusion.models.operations import Operations
from vidx4.errors import ModelError

TINY = "tiny"
"""The name that stands for the decoder of `stream-diffvsr`, as far as that is on this machine."""


def load_tiny(folder: Path, settings: LoadSettings) -> TinyAutoencoder:
    """Load the tiny autoencoder of a model's folder; in float32 unless a GPU computes in float16.

    Raises:
        ModelError: the autoencoder is missing, incomplete, or of another architecture.
    """
    is_half = settings.dtype == torch.float16 and settings.device.type == "cuda"
    dtype = torch.float16 if is_half else torch.float32
    vae = load_network(TemporalAutoencoderTiny, folder, "vae", dtype, half=settings.dtype != torch.float32)
    return TinyAutoencoder(place(vae, settings.device))


def load_decoder(name: str, settings: LoadSettings, latent_channels: int) -> TinyAutoencoder:
    """Load the decoder that a user names.

    Args:
        name: `tiny`, or a model's folder with a tiny autoencoder.
        settings: the device and the precision.
        latent_channels: channels of the latents that it will be given.

    Raises:
        ModelError: it is not on this machine, or can't be used with this model.
    """
    autoencoder = load_tiny(_folder(name), settings)
    if autoencoder.latent_channels != latent_channels:
        raise ModelError(
            f"--decoder {name} can't be used: it takes {autoencoder.latent_channels} channels of latents, "
            f"but the model has {latent_channels}."
        )
    return autoencoder


def operations_with(operations: Operations, decoder: str | None) -> Operations:
    """Return the operations of a model whose latents another decoder decodes; None for its own."""
    return operations if decoder is None else replace(operations, decode=decode_operations)


def _folder(name: str) -> Path:
    if name != TINY:
        folder = Path(name).expanduser()
        if not folder.is_dir():
            raise ModelError(f"There is no decoder {name!r}: use tiny, or a folder of Stream-DiffVSR.")
        return folder
    cached = cached_part(STREAM_REPOSITORY, STREAM_REVISION, "vae")
    if cached is None:
        raise ModelError(
            "--decoder tiny needs the autoencoder of Stream-DiffVSR, which is not on this machine: get it "
            f"with hf download {STREAM_REPOSITORY} --include 'vae/*' (8 MB), or name a folder that has vae/."
        )
    return cached
