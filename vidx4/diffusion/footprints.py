"""The memory that the known models take on a GPU, without loading them there."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from vidx4.diffusion.footprint import Footprint, GPUFootprint, footprint_of


def known_footprints(dtype: torch.dtype, device: torch.device) -> Mapping[str, Footprint]:
    """Return the memory that each known model takes on a GPU, by its name."""
    # Only a machine with a GPU has to wait for these imports.
    from vidx4.diffusion.models.registry import load
    from vidx4.diffusion.options import UpscaleOptions
    from vidx4.diffusion.settings import Settings

    compact = replace(load("compact", torch.device("cpu"), dtype), device=device)
    settings = Settings.resolve(UpscaleOptions("compact"), compact)
    compact_footprint = footprint_of(compact, settings)
    return {"compact": compact_footprint, "sd-x4": _sd_x4(dtype), "stream-diffvsr": _stream(dtype)}


def _sd_x4(dtype: torch.dtype) -> Footprint:
    """Return the memory that the published model takes with guidance."""
    from vidx4.diffusion.models.components import num_bytes
    from vidx4.diffusion.models.sd_x4 import (
        SIZE_MULTIPLE,
        UNET_PARAMETERS,
        VALUES_PER_PIXEL,
        meta_autoencoder,
    )

    autoencoder = meta_autoencoder(dtype)
    return GPUFootprint(
        denoiser=dtype.itemsize * UNET_PARAMETERS,
        autoencoder=num_bytes(autoencoder.vae),
        bytes_per_pixel=2 * dtype.itemsize * VALUES_PER_PIXEL,
        decode_bytes=autoencoder.decode_bytes,
        has_decode_tiles=True,
        is_lessened_by_tiles=True,
        size_multiple=SIZE_MULTIPLE,
        remembered_bytes=0,
    )


def _stream(dtype: torch.dtype) -> Footprint:
    """Return the memory that the published model takes."""
    from vidx4.diffusion.footprint import recalled_bytes
    from vidx4.diffusion.models.components import num_bytes
    from vidx4.diffusion.models.sd_x4 import SIZE_MULTIPLE
    from vidx4.diffusion.models.stream_diffvsr import (
        CONTROLNET_PARAMETERS,
        UNET_PARAMETERS,
        VALUES_PER_PIXEL,
        meta_autoencoder,
    )

    autoencoder = meta_autoencoder(dtype)
    return GPUFootprint(
        denoiser=dtype.itemsize * (UNET_PARAMETERS + CONTROLNET_PARAMETERS),
        autoencoder=num_bytes(autoencoder.vae),
        bytes_per_pixel=dtype.itemsize * VALUES_PER_PIXEL,
        decode_bytes=autoencoder.decode_bytes,
        has_decode_tiles=False,
        is_lessened_by_tiles=True,
        size_multiple=SIZE_MULTIPLE,
        remembered_bytes=recalled_bytes(dtype),
    )
