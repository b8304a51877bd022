"""Evaluate the UNet of the Stable Diffusion x4 Upscaler block by block, keeping what stays the same."""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from vidx4.diffusion.denoise import Prediction, PromptEmbeds
from vidx4.diffusion.models.networks.compiled import CompiledVariants


class PromptAttention:
    """Attention to prompts that never change, whose keys and values are computed once.

    Args:
        attention: the layer that this will be the processor of.
        prompts: embeddings of all prompts that will be attended to, (P, tokens, width).
    """

    def __init__(self, attention: Attention, prompts: Tensor) -> None:
        # The weights may be elsewhere, to come to the device only when they are needed.
        at_weights = prompts.to(attention.to_k.weight.device)
        self._keys, self._values = (
            _by_head(layer(at_weights).to(prompts.device), attention.heads)
            for layer in (attention.to_k, attention.to_v)
        )

    def __call__(
        self,
        attention: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: None = None,
    ) -> Tensor:
        """Attend to the last of the prompts, as many as are in `encoder_hidden_states`.

        Args:
            attention: the layer.
            hidden_states: the input of the layer, for each prompt one after another, (P * N, places, width).
            encoder_hidden_states: embeddings of the prompts, (P, tokens, width).
            attention_mask: always None.

        Returns:
            The output of the layer, (P * N, places, width).
        """
        # The positive prompt comes last: without guidance, it is the only one.
        query = _by_head(attention.to_q(hidden_states), attention.heads)
        keys, values = (
            _per_frame(field[-len(encoder_hidden_states) :], len(hidden_states))
            for field in (self._keys, self._values)
        )
        attended = F.scaled_dot_product_attention(query, keys, values)
        return cast(Tensor, attention.to_out[0](attended.transpose(1, 2).flatten(2)))


def _padded_rows(num_frames: int, batch_size: int, num_prompts: int, device: torch.device) -> Tensor:
    """Return the rows of a sample that make full batches: the last frame of each prompt is repeated."""
    frames = torch.arange(batch_size, device=device).clamp(max=num_frames - 1)
    first = num_frames * torch.arange(num_prompts, device=device)
    return (first[:, None] + frames).flatten()


def _without_padding(field: Tensor, num_rows: int, num_prompts: int) -> Tensor:
    """Return the rows of a field that were there before padding."""
    frames = field.view(num_prompts, -1, *field.shape[1:])
    return frames[:, : num_rows // num_prompts].flatten(0, 1)


def _by_head(field: Tensor, num_heads: int) -> Tensor:
    """Return a field with its channels split by heads, from (N, L, C) to (N, heads, L, C / heads)."""
    return field.view(*field.shape[:2], num_heads, -1).transpose(1, 2)


def _per_frame(field: Tensor, num_rows: int) -> Tensor:
    """Return a field of one row per prompt with each row repeated for every frame, `num_rows` in all."""
    return field[:, None].expand(-1, num_rows // len(field), -1, -1, -1).flatten(0, 1)


def attend_to(network: nn.Module, prompt_embeds: PromptEmbeds) -> None:
    """Let a network attend to prompts that never change; its attention processors are replaced."""
    with torch.inference_mode():
        for module in network.modules():
            if isinstance(module, Attention) and module.is_cross_attention:
                module.set_processor(PromptAttention(module, prompt_embeds.both))


class StagedUNet:
    """A UNet with the results of `UNet2DConditionModel.forward` that computes constants only once.

    These are the keys and values of the prompts, and the embeddings of timesteps and noise levels. Its deep
    blocks, which work at half the resolution and below, are skipped if their features are given.

    Args:
        unet: the network, whose attention processors are replaced.
        prompt_embeds: embeddings of all prompts that it will be given.
    """

    def __init__(self, unet: UNet2DConditionModel, prompt_embeds: PromptEmbeds) -> None:
        self._unet = unet
        self._embeddings: dict[tuple[int, int], Tensor] = {}
        self._batch_size: int | None = None
        """Frames that the compiled network is evaluated on at once; None if it is not compiled."""
        self._compiled = CompiledVariants(self._evaluate)
        attend_to(unet, prompt_embeds)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the samples that it takes."""
        return cast(torch.dtype, self._unet.dtype)

    def like(self, network: Any, prompt_embeds: PromptEmbeds | None) -> "StagedUNet":
        """Return a denoiser that evaluates a network of the same kind; see `Denoiser`."""
        if prompt_embeds is None:
            raise ValueError("The network takes prompts.")
        return StagedUNet(network, prompt_embeds)

    def __call__(
        self, sample: Tensor, t: Tensor, noise_level: int, prompts: Tensor | None, features: Tensor | None
    ) -> Prediction:
        """Evaluate the network; see `Denoiser`. Features are the input of its last block."""
        embedding = self._embedding(sample, t, noise_level)
        if self._batch_size is None:
            return Prediction(*self._evaluate(sample, embedding, prompts, features))
        num_prompts = 1 if prompts is None else len(prompts)
        rows = _padded_rows(len(sample) // num_prompts, self._batch_size, num_prompts, sample.device)
        padded = sample[rows], embedding, prompts, None if features is None else features[rows]
        evaluated = self._compiled.evaluate(*padded)
        return Prediction(*(_without_padding(field, len(sample), num_prompts) for field in evaluated))

    def compile(self, batch_size: int | None) -> None:
        """Compile the network on its next evaluation, unless it is compiled for the same batches already.

        It is then always evaluated on full batches, since every shape takes a minute to compile, and code for
        another shape would round differently.

        Args:
            batch_size: the most frames that will be evaluated at once; None to evaluate it uncompiled.
        """
        self._batch_size = batch_size

    def _embedding(self, sample: Tensor, t: Tensor, noise_level: int) -> Tensor:
        """Return the embedding of the timestep and the noise level, the same for all frames, (1, width)."""
        key = int(t), noise_level
        if key not in self._embeddings:
            unet = self._unet
            time = unet.time_embedding(unet.get_time_embed(sample=sample[:1], timestep=t))
            label = torch.tensor([noise_level], device=sample.device)
            level = unet.get_class_embed(sample=sample, class_labels=label)
            self._embeddings[key] = time if level is None else time + level
        return self._embeddings[key]

    def _evaluate(
        self, sample: Tensor, embedding: Tensor, prompts: Tensor | None, features: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        return self._walk(sample, embedding, prompts, features)

    def _walk(
        self,
        sample: Tensor,
        embedding: Tensor,
        prompts: Tensor | None,
        features: Tensor | None,
        residuals: Sequence[Tensor] = (),
    ) -> tuple[Tensor, Tensor]:
        """Evaluate the network.

        Args:
            sample: see `__call__`.
            embedding: see `_embedding`.
            prompts: see `__call__`.
            features: see `__call__`.
            residuals: what to add to the skips, in their order, and to the middle; they are overwritten.
        """
        unet = self._unet
        hidden = unet.conv_in(sample)
        halved, skips = down(unet.down_blocks[0], hidden, embedding, prompts)
        # The last skip is the halved picture itself, which the deep blocks need.
        outer = _added([hidden, *skips[:-1]], residuals)
        del hidden, skips  # their sums with the residuals are other tensors
        if features is None:
            features = self._deep(halved, outer, embedding, prompts, residuals[len(outer) :])
        hidden = _up(unet.up_blocks[-1], features, outer, embedding, prompts, None)
        return unet.conv_out(unet.conv_act(unet.conv_norm_out(hidden))), features

    def _deep(
        self,
        hidden: Tensor,
        outer: Sequence[Tensor],
        embedding: Tensor,
        prompts: Tensor | None,
        residuals: Sequence[Tensor],
    ) -> Tensor:
        """Return the features of all blocks but the outermost, at full size; `hidden` is at half size."""
        unet = self._unet
        inner = [hidden]
        for block in unet.down_blocks[1:]:
            hidden, more = down(block, hidden, embedding, prompts)
            inner += more
        hidden = unet.mid_block(hidden, embedding, encoder_hidden_states=prompts)
        skips = [*outer, *_added(inner, residuals)]
        del inner
        if residuals:
            hidden = hidden + residuals[-1]
        for block in unet.up_blocks[:-1]:
            own = tuple(skips.pop() for _ in block.resnets)[::-1]
            hidden = _up(block, hidden, own, embedding, prompts, skips[-1].shape[2:])
        return hidden


def _added(fields: Sequence[Tensor], residuals: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the first of some residuals with fields added to them; the fields if there are no residuals."""
    if not residuals:
        return tuple(fields)
    # In place, since both are large, and the fields may be needed as they are.
    return tuple(residual.add_(field) for residual, field in zip(residuals, fields, strict=False))


def down(
    block: Any, hidden: Tensor, embedding: Tensor, prompts: Tensor | None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the output of a down block, and the skips for the up blocks."""
    if getattr(block, "has_cross_attention", False):
        return cast(
            tuple[Tensor, tuple[Tensor, ...]], block(hidden, embedding, encoder_hidden_states=prompts)
        )
    return cast(tuple[Tensor, tuple[Tensor, ...]], block(hidden, embedding))


def _up(
    block: Any,
    hidden: Tensor,
    skips: tuple[Tensor, ...],
    embedding: Tensor,
    prompts: Tensor | None,
    size: Sequence[int] | None,
) -> Tensor:
    """Return the output of an up block, at the size of the next block's skips."""
    if getattr(block, "has_cross_attention", False):
        return cast(
            Tensor, block(hidden, skips, embedding, encoder_hidden_states=prompts, upsample_size=size)
        )
    return cast(Tensor, block(hidden, skips, embedding, size))
