"""Encode prompts with the text encoder of a model, which is not needed afterwards."""

from pathlib import Path
from typing import Any

import torch

from vidx4.diffusion.denoise import PromptEmbeds
from vidx4.diffusion.models.components import LoadSettings
from vidx4.diffusion.models.loading.text_encoder import load_text_encoder
from vidx4.diffusion.models.loading.tokenizer import load_tokenizer
from vidx4.errors import ModelError


def encode_prompts(folder: Path, settings: LoadSettings, width: int, *, half: bool) -> PromptEmbeds:
    """Encode the prompts; in float32 if numbers of the text encoder overflow in a lower precision.

    Args:
        folder: the model's folder.
        settings: the prompts, the precision of their embeddings, and the device.
        width: channels that the denoiser takes.
        half: whether to prefer float16 weights.

    Raises:
        ModelError: the tokenizer or the text encoder can't be used.
    """
    texts = settings.prompt, settings.negative_prompt
    tokenizer = load_tokenizer(folder, needs_merges=any(texts))

    def encode_all(dtype: torch.dtype) -> PromptEmbeds:
        encoder = load_text_encoder(folder, dtype, half=half)
        _check_text(folder, tokenizer, encoder.config, width)
        encoder = encoder.requires_grad_(False).eval().to(settings.device)
        # One prompt at a time, as in diffusers: a batch of two changes the last bits.
        embeds = {text: _encode(text, tokenizer, encoder).to(settings.dtype) for text in set(texts)}
        return PromptEmbeds(*(embeds[text] for text in texts))

    embeds = encode_all(settings.dtype)
    if not embeds.are_finite:
        embeds = encode_all(torch.float32)
    if not embeds.are_finite:
        raise ModelError(f"{folder / 'text_encoder'} can't be used: it gives no finite numbers.")
    return embeds


@torch.inference_mode()
def _encode(text: str, tokenizer: Any, encoder: Any) -> torch.Tensor:
    """Return the embedding of a prompt, (1, tokens, width)."""
    ids = tokenizer(
        text,
        padding="max_length",
        max_length=encoder.config.max_position_embeddings,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    embeds: torch.Tensor = encoder(ids.to(encoder.device))[0]
    return embeds


def _check_text(folder: Path, tokenizer: Any, encoder: Any, width: int) -> None:
    """Check that a text encoder knows all tokens, and that the UNet knows what it gives."""
    if max(tokenizer.get_vocab().values()) >= encoder.vocab_size:
        raise ModelError(f"{folder} can't be used: its tokenizer has tokens that its text encoder lacks.")
    if encoder.hidden_size != width:
        raise ModelError(
            f"{folder} can't be used: its text encoder gives {encoder.hidden_size} channels, but its UNet "
            f"takes {width}."
        )
