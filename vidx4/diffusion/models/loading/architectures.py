"""The settings of networks and schedulers that models may have: what has an effect, and within what bounds.

Bounds are several times what any published model has. They keep a network that a file asks for from taking
hours to build; its weights have to be in the file, too.
"""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidx4.diffusion.models.loading.rules import (
    FLAG,
    NOTHING,
    Rule,
    Rules,
    chosen,
    either,
    many,
    number,
    one_of,
    shown,
    whole,
)
from vidx4.diffusion.models.networks.compact_denoiser import (
    CONDITION_CHANNELS,
    HIDDEN_CHANNELS,
    LATENT_CHANNELS,
)
from vidx4.diffusion.models.networks.tiny_network import NUM_STAGES
from vidx4.errors import ModelError

_MOST_LEVELS = 8
"""Most resolutions that a network works at."""
_WIDTH = whole(1, 8192)
"""Channels of a layer."""
_HEADS = whole(1, 1024)
_ACTIVATION = one_of("silu", "swish", "mish", "gelu", "relu")
_SIDE = whole(1, 1 << 16)
_SIZE = either(NOTHING, _SIDE, many(_SIDE, 2))

_WITHOUT_CONTROL = ("sample_size", "out_channels", "up_block_types", "dropout")
"""Settings of a UNet that a ControlNet does not have."""

UNET: Rules = {
    "sample_size": _SIZE,
    "in_channels": whole(1, 64),
    "out_channels": whole(1, 64),
    "flip_sin_to_cos": FLAG,
    "freq_shift": number(0, 1),
    "down_block_types": many(one_of("DownBlock2D", "CrossAttnDownBlock2D"), _MOST_LEVELS),
    "mid_block_type": one_of("UNetMidBlock2DCrossAttn"),
    "up_block_types": many(one_of("UpBlock2D", "CrossAttnUpBlock2D"), _MOST_LEVELS),
    "only_cross_attention": either(FLAG, many(FLAG, _MOST_LEVELS)),
    "block_out_channels": many(_WIDTH, _MOST_LEVELS),
    "layers_per_block": whole(1, 16),
    "downsample_padding": whole(0, 1),
    "mid_block_scale_factor": number(1e-6, 1e6),
    "dropout": number(0, 1),
    "act_fn": _ACTIVATION,
    "norm_num_groups": _WIDTH,
    "norm_eps": number(0, 1),
    "cross_attention_dim": _WIDTH,
    "transformer_layers_per_block": whole(1, 16),
    "attention_head_dim": either(_HEADS, many(_HEADS, _MOST_LEVELS)),
    "num_attention_heads": either(NOTHING, _HEADS, many(_HEADS, _MOST_LEVELS)),
    "use_linear_projection": FLAG,
    "num_class_embeds": either(NOTHING, whole(1, 100_000)),
    "upcast_attention": FLAG,
    "resnet_time_scale_shift": one_of("default", "scale_shift"),
}
_CONTROL_STAGES = 3
"""Layers that take a picture from four times the size of the latents to theirs."""
CONTROLNET: Rules = {
    **{name: rule for name, rule in UNET.items() if name not in _WITHOUT_CONTROL},
    "conditioning_embedding_out_channels": many(_WIDTH, _CONTROL_STAGES, _CONTROL_STAGES),
}
TINY_AUTOENCODER: Rules = {
    "in_channels": whole(3, 3),
    "out_channels": whole(3, 3),
    "encoder_block_out_channels": many(_WIDTH, NUM_STAGES, NUM_STAGES),
    "decoder_block_out_channels": many(_WIDTH, NUM_STAGES, NUM_STAGES),
    "latent_channels": whole(1, 64),
    "num_encoder_blocks": many(whole(1, 16), NUM_STAGES, NUM_STAGES),
    "num_decoder_blocks": many(whole(1, 16), NUM_STAGES, NUM_STAGES),
    "latent_magnitude": number(1e-6, 1e6),
    "latent_shift": number(0, 1),
    "force_upcast": FLAG,
    "scaling_factor": number(1e-6, 1e6),
}
AUTOENCODER: Rules = {
    "in_channels": whole(3, 3),
    "out_channels": whole(3, 3),
    "down_block_types": many(one_of("DownEncoderBlock2D"), _MOST_LEVELS),
    "up_block_types": many(one_of("UpDecoderBlock2D"), _MOST_LEVELS),
    "block_out_channels": many(_WIDTH, _MOST_LEVELS),
    "layers_per_block": whole(1, 16),
    "act_fn": _ACTIVATION,
    "latent_channels": whole(1, 64),
    "norm_num_groups": _WIDTH,
    "sample_size": _SIZE,
    "scaling_factor": number(1e-6, 1e6),
    "force_upcast": FLAG,
    "use_quant_conv": FLAG,
    "use_post_quant_conv": FLAG,
}
TEXT_ENCODER: Rules = {
    "vocab_size": whole(1, 1_000_000),
    "hidden_size": _WIDTH,
    "intermediate_size": whole(1, 1 << 16),
    "projection_dim": whole(1, 1 << 16),
    "num_hidden_layers": whole(1, 256),
    "num_attention_heads": _HEADS,
    "max_position_embeddings": whole(1, 1 << 16),
    "hidden_act": one_of("gelu", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu"),
    "layer_norm_eps": number(0, 1),
    **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), either(NOTHING, whole(0, 1_000_000))),
}
DENOISER: Rules = {
    "in_channels": whole(LATENT_CHANNELS + CONDITION_CHANNELS, LATENT_CHANNELS + CONDITION_CHANNELS),
    "out_channels": whole(LATENT_CHANNELS, LATENT_CHANNELS),
    "width": whole(4, 8192),
    "num_blocks": whole(2, 256),
    "hidden_channels": whole(HIDDEN_CHANNELS, HIDDEN_CHANNELS),
    "num_train_timesteps": whole(1, 10_000),
    "max_noise_level": whole(0, 10_000),
}
RESIDUAL_AUTOENCODER: Rules = {"scaling_factor": number(1e-6, 1e6)}
SCHEDULER: Rules = {
    "num_train_timesteps": whole(1, 10_000),
    "beta_start": number(0, 1),
    "beta_end": number(0, 1),
    "beta_schedule": one_of("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"),
    "trained_betas": either(NOTHING, many(number(0, 1), 10_000)),
    "clip_sample": FLAG,
    "set_alpha_to_one": FLAG,
    "steps_offset": whole(0, 1),
    "prediction_type": one_of("epsilon", "sample", "v_prediction"),
    "thresholding": FLAG,
    "dynamic_thresholding_ratio": number(0, 1),
    "clip_sample_range": number(0, 1e6),
    "sample_max_value": number(0, 1e6),
    "timestep_spacing": one_of("leading", "trailing", "linspace"),
    "rescale_betas_zero_snr": FLAG,
    "variance_type": one_of(None, "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"),
    "skip_prk_steps": FLAG,
    "solver_order": whole(1, 3),
    "algorithm_type": one_of("dpmsolver", "dpmsolver++", "sde-dpmsolver", "sde-dpmsolver++"),
    "solver_type": one_of("midpoint", "heun", "bh1", "bh2", "logrho"),
    "predict_x0": FLAG,
    "lower_order_final": FLAG,
    "euler_at_final": FLAG,
    "use_karras_sigmas": one_of(True, False, None),
    "final_sigmas_type": one_of("zero", "sigma_min"),
    "interpolation_type": one_of("linear", "log_linear"),
}
NETWORKS: Mapping[str, Rules] = {
    "UNet2DConditionModel": UNET,
    "ControlNetModel": CONTROLNET,
    "AutoencoderKL": AUTOENCODER,
    "TemporalAutoencoderTiny": TINY_AUTOENCODER,
    "CompactDenoiser": DENOISER,
    "ResidualAutoencoder": RESIDUAL_AUTOENCODER,
}
"""Rules for the settings of networks, by the names of their classes."""
SCHEDULERS = (
    "DDIMScheduler",
    "DDPMScheduler",
    "DPMSolverMultistepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
)
"""Schedulers of diffusers that a model may name."""


def settings_of(cls: Any, path: Path, found: Mapping[str, Any], rules: Rules) -> dict[str, Any]:
    """Return the settings for a class of diffusers, without those that it does not know.

    Args:
        cls: the class.
        path: the file that the settings come from.
        found: what it holds.
        rules: rules for the settings that may differ from their defaults.

    Raises:
        ModelError: a setting has a value that it must not have, or the settings are of another class.
    """
    if found.get("_class_name", cls.__name__) != cls.__name__:
        kind = shown(found["_class_name"])
        raise ModelError(f"{path} can't be used: _class_name is {kind}, but it must be {cls.__name__}.")
    parameters = inspect.signature(cls.__init__).parameters
    defaults = {name: each.default for name, each in parameters.items() if each.default is not each.empty}
    # What no model of this kind sets differently is not handed on: it has its default anyway.
    chosen(path, found, {name: _is(default) for name, default in defaults.items() if name not in rules})
    return chosen(path, found, {name: rule for name, rule in rules.items() if name in defaults})


def _is(default: object) -> Rule:
    """Return the rule for a setting that has its default, or none."""
    usual = list(default) if isinstance(default, tuple) else default
    return Rule(
        lambda value: (
            value is None or (isinstance(value, bool) == isinstance(usual, bool) and value == usual)
        ),
        shown(usual),
    )
