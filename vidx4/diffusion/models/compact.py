"""Load the bundled model, compact, from its folder."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from vidx4.diffusion.denoise import PlainDenoiser
from vidx4.diffusion.models.components import Components, Family, LoadSettings, ModelDefaults, place
from vidx4.diffusion.models.loading.parts import load_network, load_scheduler, read_settings
from vidx4.diffusion.models.loading.rules import chosen, whole
from vidx4.diffusion.models.networks.compact_denoiser import CompactDenoiser, Memory, ResidualAutoencoder
from vidx4.diffusion.models.operations import Operations
from vidx4.diffusion.options import Speed
from vidx4.errors import OptionError

_COMPACT = ModelDefaults(
    num_inference_steps=1, guidance_scale=1.0, noise_level=0, consistency=0.2, texture=0.6
)
COMPACT_DEFAULTS = {
    Speed.QUALITY: _COMPACT,
    Speed.BALANCED: _COMPACT,  # there is nothing between a single step and not looking back
    Speed.FAST: replace(_COMPACT, consistency=0.0, remembers=False),
}
GAIN_OF_FAST = 1.65
"""How many frames the fast speed makes in the time of one: measured on a CPU at 320x240."""
COMPACT = Family(COMPACT_DEFAULTS, Operations(per_pixel=2.2e6), has_memory=True)


def load_compact(name: str, folder: Path, index: dict[str, Any], settings: LoadSettings) -> Components:
    """Load the bundled model from a folder in diffusers format; see `registry.load`."""
    if settings.prompt or settings.negative_prompt:
        raise OptionError(f"The model {name} takes no prompt; --model sd-x4 does.")
    unet = load_network(CompactDenoiser, folder, "unet", settings.dtype)
    autoencoder = ResidualAutoencoder.from_config(read_settings(ResidualAutoencoder, folder, "vae"))
    rules = {"max_noise_level": whole(0, unet.config.max_noise_level)}
    known = {"max_noise_level": unet.config.max_noise_level} | index
    return Components(
        name=name,
        unet=place(unet, settings.device),
        denoiser=PlainDenoiser(unet),
        autoencoder=autoencoder,
        scheduler=load_scheduler(folder, "scheduler"),
        low_res_scheduler=load_scheduler(folder, "low_res_scheduler"),
        prompt_embeds=None,
        max_noise_level=chosen(folder / "model_index.json", known, rules)["max_noise_level"],
        size_multiple=1,
        reach=unet.reach,
        memory=Memory(autoencoder),
        first_step_is_blind=True,
        device=settings.device,
        has_texture=True,
        has_deep_features=False,
        operations=COMPACT.operations,
        gains_by_compiling=False,
        # One frame at a time, since it needs the result of the frame before. Even without that a batch gains
        # nothing on a CPU: at 320x240 a frame takes 0.124 s alone, and 0.142 to 0.151 s in batches
        # (`scripts.bench scale`).
        batch_pixels=1,
        values_per_pixel=1600,
        host_values_per_pixel=2000,
        is_lessened_by_tiles=False,
        defaults=COMPACT_DEFAULTS,
        takes_prompts=False,
    )
