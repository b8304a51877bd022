"""The Stable Diffusion x4 Upscaler with random weights: its topology, at tiny width or at full size."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    StableDiffusionUpscalePipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

TINY_WIDTHS = (16, 32, 32, 64)
REAL_WIDTHS = (256, 512, 512, 1024)


def make_unet(
    widths: tuple[int, ...], text_width: int, num_heads: int = 8, layers_per_block: int = 2
) -> UNet2DConditionModel:
    """Make the UNet with these channels at each resolution."""
    return UNet2DConditionModel(
        in_channels=7,
        out_channels=4,
        block_out_channels=widths,
        layers_per_block=layers_per_block,
        down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3 + ("UpBlock2D",),
        only_cross_attention=(True, True, True, False),
        attention_head_dim=num_heads,
        cross_attention_dim=text_width,
        use_linear_projection=True,
        num_class_embeds=1000,
        norm_num_groups=min(32, widths[0]),
    )


def make_vae(widths: tuple[int, ...]) -> AutoencoderKL:
    """Make the autoencoder with these channels at each resolution."""
    return AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=2,
        latent_channels=4,
        norm_num_groups=min(32, widths[0]),
        sample_size=256,
        scaling_factor=0.08333,
    )


def make_text_encoder(width: int = 32) -> CLIPTextModel:
    """Make a small text encoder for the alphabet of `make_tokenizer`."""
    config = CLIPTextConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=1000,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return CLIPTextModel(config)


def make_tokenizer() -> CLIPTokenizer:
    """Make a tokenizer of lower-case letters."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens = ["<|startoftext|>", "<|endoftext|>", "!", *letters, *(f"{letter}</w>" for letter in letters)]
    vocab = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=[], pad_token="!", model_max_length=77)


def make_schedulers() -> tuple[DDIMScheduler, DDPMScheduler]:
    """Make the scheduler of the latents and that of the low-resolution frame."""
    betas = {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "scaled_linear"}
    scheduler = DDIMScheduler(
        **betas,
        clip_sample=False,
        prediction_type="v_prediction",
        set_alpha_to_one=False,
        steps_offset=1,
    )
    return scheduler, DDPMScheduler(**betas)


def make_pipeline() -> StableDiffusionUpscalePipeline:
    """Make diffusers' pipeline with tiny components; the same weights at every call."""
    torch.manual_seed(0)
    scheduler, low_res_scheduler = make_schedulers()
    pipeline = StableDiffusionUpscalePipeline(
        vae=make_vae((16, 16, 32)).eval(),
        text_encoder=make_text_encoder().eval(),
        tokenizer=make_tokenizer(),
        unet=make_unet(TINY_WIDTHS, text_width=32).eval(),
        low_res_scheduler=low_res_scheduler,
        scheduler=scheduler,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save_model(folder: Path) -> Path:
    """Write the tiny model as a folder in diffusers format."""
    make_pipeline().save_pretrained(folder)
    return folder
