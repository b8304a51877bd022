"""Load the Stable Diffusion x4 Upscaler from its folder."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from vidx4.diffusion.models.components import (
    Components,
    Family,
    LoadSettings,
    ModelDefaults,
    num_parameters,
    place,
)
from vidx4.diffusion.models.decoders import load_decoder, operations_with
from vidx4.diffusion.models.loading.parts import load_network, load_scheduler
from vidx4.diffusion.models.loading.rules import chosen, whole
from vidx4.diffusion.models.networks.autoencoder import TiledAutoencoder, TrainedAutoencoder
from vidx4.diffusion.models.networks.decoder_operations import decode_operations
from vidx4.diffusion.models.networks.fp16 import shrink_stream
from vidx4.diffusion.models.networks.unet import StagedUNet
from vidx4.diffusion.models.operations import Operations
from vidx4.diffusion.models.prompts import encode_prompts
from vidx4.diffusion.options import Speed
from vidx4.errors import ModelError

UPSCALE_SCALING_FACTOR = 0.08333
"""Scaling factor of the f=4 autoencoder: older copies of its configuration lack it, and diffusers' default
differs."""

UNET_PARAMETERS, AUTOENCODER_PARAMETERS = 473_398_020, 55_325_927
"""Numbers of weights of the published model."""
VALUES_PER_PIXEL, HOST_VALUES_PER_PIXEL = 3950, 8000
"""Numbers that the UNet holds at its peak for a low-resolution pixel: counted, and measured on a CPU."""
SIZE_MULTIPLE = 8
"""Number of which both sides of what the UNet of the published model takes must be multiples."""

_SD_X4 = ModelDefaults(
    num_inference_steps=20,
    guidance_scale=9.0,
    noise_level=20,
    consistency=0.2,
    level_share=0.3,  # a guess: what suits real material was not measured
)
SD_X4_DEFAULTS = {
    Speed.QUALITY: _SD_X4,
    Speed.BALANCED: replace(
        _SD_X4, num_inference_steps=12, scheduler="dpmpp", guidance_stop=0.75, cache_interval=2
    ),
    Speed.FAST: replace(_SD_X4, num_inference_steps=4, scheduler="unipc", guidance_stop=0.5),
}
SD_X4 = Family(
    SD_X4_DEFAULTS,
    # Of pairs, for the self-attention of the deepest blocks, which is at an eighth of the size.
    Operations(per_pixel=68.64e6, per_pair=6.0, per_pixel_shallow=17.78e6, decode=decode_operations),
    takes_prompts=True,
)


def load_stable_diffusion(
    name: str, folder: Path, index: dict[str, Any], settings: LoadSettings
) -> Components:
    """Load the upscaler from a folder in diffusers format; see `registry.load`."""
    half = settings.dtype != torch.float32
    unet = load_network(UNet2DConditionModel, folder, "unet", settings.dtype, half=half)
    vae = load_network(AutoencoderKL, folder, "vae", torch.float32, half=half)
    vae.register_to_config(scaling_factor=UPSCALE_SCALING_FACTOR)
    _check_channels(folder, unet, vae)
    prompt_embeds = encode_prompts(folder, settings, unet.config.cross_attention_dim, half=half)
    low_res_scheduler = load_scheduler(folder, "low_res_scheduler")
    components = Components(
        name=name,
        unet=place(unet, settings.device),
        denoiser=StagedUNet(unet, prompt_embeds),
        autoencoder=_autoencoder(vae, settings),
        scheduler=load_scheduler(folder, "scheduler"),
        low_res_scheduler=low_res_scheduler,
        prompt_embeds=prompt_embeds,
        max_noise_level=_max_noise_level(folder, index, unet, low_res_scheduler),
        size_multiple=2 ** (len(unet.config.block_out_channels) - 1),
        reach=None,
        memory=None,
        first_step_is_blind=False,
        device=settings.device,
        has_texture=False,
        has_deep_features=True,
        operations=operations_with(SD_X4.operations, settings.decoder),
        gains_by_compiling=True,
        batch_pixels=4 * 128 * 128,
        values_per_pixel=VALUES_PER_PIXEL,
        host_values_per_pixel=HOST_VALUES_PER_PIXEL,
        is_lessened_by_tiles=True,
        defaults=SD_X4_DEFAULTS,
    )
    if name == "sd-x4":
        _check_is_sd_x4(components, vae)
    return components


def _autoencoder(vae: Any, settings: LoadSettings) -> TrainedAutoencoder:
    """Return what decodes latents: the model's own autoencoder, or the one that is asked for instead."""
    if settings.decoder is not None:
        return load_decoder(settings.decoder, settings, vae.config.latent_channels)
    if settings.dtype == torch.float16 and settings.device.type == "cuda":
        shrink_stream(vae.decoder)
        vae = vae.half()
    return TiledAutoencoder(place(vae, settings.device))


def _max_noise_level(folder: Path, index: dict[str, Any], unet: Any, scheduler: Any) -> int:
    """Return the highest noise level, which both the UNet and the scheduler have to know."""
    known = min(unet.config.num_class_embeds, scheduler.config.num_train_timesteps)
    rules = {"max_noise_level": whole(0, known - 1)}
    return int(
        chosen(folder / "model_index.json", {"max_noise_level": 350} | index, rules)["max_noise_level"]
    )


def _check_channels(folder: Path, unet: Any, vae: Any) -> None:
    check_unet(folder, unet, vae.config.latent_channels)
    if unet.config.num_class_embeds is None or len(vae.config.block_out_channels) != 3:
        raise ModelError(
            f"{folder} is not an x4 upscaler: its UNet takes no noise level, or its autoencoder is not f=4."
        )


def check_unet(folder: Path, unet: Any, latent_channels: int) -> None:
    """Check that a UNet is that of an x4 upscaler.

    Raises:
        ModelError: it takes or gives other channels.
    """
    if unet.config.in_channels != latent_channels + 3:
        raise ModelError(
            f"{folder} is not an x4 upscaler: its UNet takes {unet.config.in_channels} channels, "
            f"not {latent_channels} of latents and 3 of the low-resolution picture."
        )
    if unet.config.out_channels != latent_channels:
        raise ModelError(
            f"{folder} is not an x4 upscaler: its UNet gives {unet.config.out_channels} channels, not "
            f"{latent_channels} of latents."
        )


def _check_is_sd_x4(components: Components, vae: Any) -> None:
    """Check that a model is the published one, before hours are spent on another."""
    unet, scheduler = components.unet, components.scheduler.config
    facts = {
        "UNet parameters": (num_parameters(unet), UNET_PARAMETERS),
        "autoencoder parameters": (num_parameters(vae), AUTOENCODER_PARAMETERS),
        "only_cross_attention": (list(unet.config.only_cross_attention), [True, True, True, False]),
        "prediction type": (scheduler.prediction_type, "v_prediction"),
        "betas": ((scheduler.beta_start, scheduler.beta_end), (0.0001, 0.02)),
    }
    wrong = [f"{what} {found} (not {known})" for what, (found, known) in facts.items() if found != known]
    if wrong:
        raise ModelError(f"This is not the published sd-x4: {', '.join(wrong)}.")


def meta_autoencoder(dtype: torch.dtype) -> TiledAutoencoder:
    """Return the autoencoder of the published model without its weights.

    Args:
        dtype: precision of the denoiser, on a GPU.
    """
    with torch.device("meta"):
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            layers_per_block=2,
            latent_channels=4,
        )
    return TiledAutoencoder(vae.to(torch.float16 if dtype == torch.float16 else torch.float32))
