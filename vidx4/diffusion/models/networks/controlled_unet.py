"""Evaluate a UNet that a ControlNet shows the result of the frame before, moved along to this one."""

from copy import copy
from typing import Any, Self, cast

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn

from vidx4.diffusion.denoise import Prediction, PromptEmbeds
from vidx4.diffusion.models.networks.compiled import CompiledVariants
from vidx4.diffusion.models.networks.unet import StagedUNet, attend_to, down

LABEL = 20
"""Class of all frames, for a network that has classes: the noise level that the reference code names, though
it adds no noise."""


class ControlledNetworks(nn.Module):
    """A UNet and its ControlNet, so that both are placed, offloaded and converted as one."""

    def __init__(self, unet: UNet2DConditionModel, controlnet: ControlNetModel) -> None:
        super().__init__()
        self.unet = unet
        self.controlnet = controlnet

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return cast(torch.dtype, self.unet.dtype)

    @property
    def config(self) -> dict[str, Any]:
        """The settings of both networks."""
        return {"unet": self.unet.config, "controlnet": self.controlnet.config}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return networks with these settings and weights of no meaning."""
        return cls(
            UNet2DConditionModel.from_config(config["unet"]),
            ControlNetModel.from_config(config["controlnet"]),
        )


class StagedControlNet:
    """A ControlNet with the results of `ControlNetModel.forward` that computes constants only once.

    These are the keys and values of the prompts, the embeddings of timesteps, and that of the picture, which
    is the same in all steps of a frame.

    Args:
        controlnet: the network, whose attention processors are replaced.
        prompt_embeds: embeddings of all prompts that it will be given.
    """

    def __init__(self, controlnet: ControlNetModel, prompt_embeds: PromptEmbeds) -> None:
        self._controlnet = controlnet
        self._embeddings: dict[int, Tensor] = {}
        attend_to(controlnet, prompt_embeds)

    def embedded(self, picture: Tensor) -> Tensor:
        """Return the embedding of a picture, (1, 3, 4H, 4W), about [-1, 1], that is to be seen."""
        return cast(Tensor, self._controlnet.controlnet_cond_embedding(picture.to(self._controlnet.dtype)))

    def embedding(self, sample: Tensor, t: Tensor) -> Tensor:
        """Return the embedding of a timestep and of `LABEL`, (1, width)."""
        key = int(t)
        if key not in self._embeddings:
            network = self._controlnet
            at_device = t.to(sample.device).expand(1)
            time = network.time_embedding(network.time_proj(at_device).to(sample.dtype))
            if network.class_embedding is not None:
                label = torch.tensor([LABEL], device=sample.device)
                time = time + network.class_embedding(label).to(sample.dtype)
            self._embeddings[key] = time
        return self._embeddings[key]

    def residuals(
        self, sample: Tensor, embedding: Tensor, prompts: Tensor | None, seen: Tensor
    ) -> list[Tensor]:
        """Return what to add to the skips of a UNet, in their order, and to its middle.

        Args:
            sample: the sample that the UNet is given, (1, C, H, W).
            embedding: see `embedding`.
            prompts: the prompt, (1, tokens, width).
            seen: see `embedded`.
        """
        network = self._controlnet
        hidden = network.conv_in(sample) + seen
        skips = [hidden]
        for block in network.down_blocks:
            hidden, more = down(block, hidden, embedding, prompts)
            skips += more
        hidden = network.mid_block(hidden, embedding, encoder_hidden_states=prompts)
        layers = zip(skips, network.controlnet_down_blocks, strict=True)
        return [*(layer(skip) for skip, layer in layers), network.controlnet_mid_block(hidden)]


class ControlledUNet(StagedUNet):
    """A `StagedUNet` that may see the result of the frame before through a ControlNet.

    Args:
        networks: both networks, whose attention processors are replaced.
        prompt_embeds: embeddings of all prompts that they will be given.
    """

    def __init__(self, networks: ControlledNetworks, prompt_embeds: PromptEmbeds) -> None:
        super().__init__(networks.unet, prompt_embeds)
        self._control = StagedControlNet(networks.controlnet, prompt_embeds)
        self._seen: Tensor | None = None
        self._controlled = CompiledVariants(self._evaluate_controlled)

    def like(self, network: Any, prompt_embeds: PromptEmbeds | None) -> "ControlledUNet":
        """Return a denoiser that evaluates networks of the same kind; see `Denoiser`."""
        if prompt_embeds is None:
            raise ValueError("The network takes prompts.")
        return ControlledUNet(network, prompt_embeds)

    def seeing(self, picture: Tensor) -> Self:
        """Return a denoiser with the same networks that sees the frame before.

        Args:
            picture: the result of the frame before, moved along to this one, about [-1, 1], (1, 3, 4H, 4W).
        """
        seeing = copy(self)
        seeing._seen = self._control.embedded(picture)
        return seeing

    def __call__(
        self, sample: Tensor, t: Tensor, noise_level: int, prompts: Tensor | None, features: Tensor | None
    ) -> Prediction:
        """Evaluate the networks; see `Denoiser`. `noise_level` and `features` are ignored."""
        if self._seen is None:
            return super().__call__(sample, t, LABEL, prompts, None)
        embeddings = torch.cat([self._embedding(sample, t, LABEL), self._control.embedding(sample, t)])
        evaluate = self._evaluate_controlled if self._batch_size is None else self._controlled.evaluate
        return Prediction(*evaluate(sample, embeddings, prompts, self._seen))

    def _evaluate_controlled(
        self, sample: Tensor, embeddings: Tensor, prompts: Tensor | None, seen: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Evaluate both networks; each has its own row of the embeddings."""
        assert seen is not None
        own, other = embeddings.split(1)
        residuals = self._control.residuals(sample, other, prompts, seen)
        return self._walk(sample, own, prompts, None, residuals)
