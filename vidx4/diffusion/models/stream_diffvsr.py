"""Load Stream-DiffVSR from its folder."""

from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, UNet2DConditionModel

from vidx4.diffusion.models.components import (
    Components,
    Family,
    LoadSettings,
    ModelDefaults,
    num_parameters,
    place,
)
from vidx4.diffusion.models.decoders import load_tiny
from vidx4.diffusion.models.loading.parts import load_network, load_scheduler
from vidx4.diffusion.models.networks.controlled_unet import ControlledNetworks, ControlledUNet
from vidx4.diffusion.models.networks.tiny_autoencoder import TinyAutoencoder, decode_seeing_operations
from vidx4.diffusion.models.networks.tiny_network import TemporalAutoencoderTiny
from vidx4.diffusion.models.operations import Operations
from vidx4.diffusion.models.prompts import encode_prompts
from vidx4.diffusion.models.sd_x4 import check_unet
from vidx4.diffusion.options import Recall, Speed
from vidx4.errors import ModelError, OptionError

UNET_PARAMETERS, CONTROLNET_PARAMETERS, AUTOENCODER_PARAMETERS = 472_374_020, 207_699_264, 2_052_501
"""Numbers of weights of the published model."""
NUM_STEPS = 4
"""Steps that the model was distilled to."""
VALUES_PER_PIXEL, HOST_VALUES_PER_PIXEL = 4500, 8600
"""Numbers that the networks hold at their peak for a low-resolution pixel: counted, and those of `sd-x4` on a
CPU with as many more as were counted."""
CAUTION_ABOUT_TILES = (
    "Stream-DiffVSR's decoder mixes the ends of rows with the beginnings of the next ones, and no part of "
    "the model sees beyond a tile: near their edges, tiles differ from the whole frame."
)
_SAME = (
    "in_channels",
    "flip_sin_to_cos",
    "down_block_types",
    "block_out_channels",
    "layers_per_block",
    "cross_attention_dim",
)
"""Settings in which a ControlNet has to be like its UNet."""
_LOOK = 4.77e6
"""Operations for each low-resolution pixel of what the ControlNet does once for a frame; counted."""

_DEFAULTS = ModelDefaults(
    num_inference_steps=NUM_STEPS,
    guidance_scale=1.0,
    noise_level=0,
    consistency=0.0,
    level_share=0.0,
    # What the networks were trained with: which of the two looks better was not measured.
    recall=Recall.REFERENCE,
)
# There is nothing to trade: the steps are as few as they can be.
STREAM_DEFAULTS = dict.fromkeys((Speed.QUALITY, Speed.BALANCED, Speed.FAST), _DEFAULTS)
STREAM = Family(
    STREAM_DEFAULTS,
    # Of an evaluation of both networks; counted. The first frame of a shot takes less.
    Operations(
        per_pixel=90.63e6,
        per_pair=9.0,
        decode=lambda width, height: decode_seeing_operations(width, height) + _LOOK * width * height,
    ),
    has_memory=True,
)


def load_stream(name: str, folder: Path, index: dict[str, Any], settings: LoadSettings) -> Components:
    """Load the upscaler from a folder in the published layout; see `registry.load`."""
    if settings.prompt or settings.negative_prompt:
        raise OptionError(f"The model {name} takes no prompt; --model sd-x4 does.")
    autoencoder = load_tiny(folder, settings)
    networks = _networks(folder, settings, autoencoder.latent_channels)
    # The prompt is always empty, so its embedding is a constant, and the encoder is not needed afterwards.
    unet, half = networks.unet.config, settings.dtype != torch.float32
    prompt_embeds = encode_prompts(folder, settings, unet.cross_attention_dim, half=half)
    components = Components(
        name=name,
        unet=networks,
        denoiser=ControlledUNet(networks, prompt_embeds),
        autoencoder=autoencoder,
        scheduler=load_scheduler(folder, "scheduler"),
        low_res_scheduler=None,
        prompt_embeds=prompt_embeds,
        max_noise_level=0,
        size_multiple=2 ** (len(unet.block_out_channels) - 1),
        reach=None,
        memory=None,
        first_step_is_blind=False,
        device=settings.device,
        has_texture=False,
        has_deep_features=False,
        operations=STREAM.operations,
        gains_by_compiling=True,
        # One frame at a time, since it needs the result of the frame before.
        batch_pixels=1,
        values_per_pixel=VALUES_PER_PIXEL,
        host_values_per_pixel=HOST_VALUES_PER_PIXEL,
        is_lessened_by_tiles=True,
        defaults=STREAM_DEFAULTS,
        sees_last_result=True,
        takes_prompts=False,
        caution_about_tiles=CAUTION_ABOUT_TILES,
    )
    if name == "stream-diffvsr":
        _check_is_published(components)
    return components


def _networks(folder: Path, settings: LoadSettings, latent_channels: int) -> ControlledNetworks:
    half = settings.dtype != torch.float32
    unet = load_network(UNet2DConditionModel, folder, "unet", settings.dtype, half=half)
    controlnet = load_network(ControlNetModel, folder, "controlnet", settings.dtype, half=half)
    check_unet(folder, unet, latent_channels)
    _check_control(folder, unet, controlnet)
    networks: ControlledNetworks = place(ControlledNetworks(unet, controlnet), settings.device)
    return networks


def meta_autoencoder(dtype: torch.dtype) -> TinyAutoencoder:
    """Return the autoencoder of the published model without its weights.

    Args:
        dtype: precision of the denoiser, on a GPU.
    """
    with torch.device("meta"):
        vae = TemporalAutoencoderTiny()
    return TinyAutoencoder(vae.to(torch.float16 if dtype == torch.float16 else torch.float32))


def _check_control(folder: Path, unet: Any, controlnet: Any) -> None:
    """Check that what a ControlNet gives can be added to what a UNet hands on."""
    for name in _SAME:
        # Of lists, one may have been read as a tuple.
        wanted, found = (str(each.config[name]).strip("[]()") for each in (unet, controlnet))
        if wanted != found:
            raise ModelError(
                f"{folder} can't be used: {name} of its ControlNet is not that of its UNet, as it must be."
            )


def _check_is_published(components: Components) -> None:
    """Check that a model is the published one, before hours are spent on another."""
    networks, scheduler = components.unet, components.scheduler.config
    assert components.trained_autoencoder is not None
    has_classes = networks.unet.config.num_class_embeds is not None
    facts = {
        "UNet parameters": (
            UNET_PARAMETERS,
            UNET_PARAMETERS if has_classes else num_parameters(networks.unet),
        ),
        "ControlNet parameters": (CONTROLNET_PARAMETERS, num_parameters(networks.controlnet)),
        "autoencoder parameters": (
            AUTOENCODER_PARAMETERS,
            num_parameters(components.trained_autoencoder.vae),
        ),
        "prediction type": ("v_prediction", scheduler.prediction_type),
        "timestep spacing": ("trailing", scheduler.timestep_spacing),
    }
    wrong = [f"{what} {found} (not {known})" for what, (known, found) in facts.items() if found != known]
    if wrong:
        raise ModelError(f"This is not the published stream-diffvsr: {', '.join(wrong)}.")
