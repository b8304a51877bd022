"""Stream-DiffVSR computes what the published code computes, with random weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests import sd_x4
from tests import stream_diffvsr as models
from vidx4.diffusion.denoise import PromptEmbeds
from vidx4.diffusion.models.components import Components
from vidx4.diffusion.models.networks.controlled_unet import (
    LABEL,
    ControlledNetworks,
    ControlledUNet,
    StagedControlNet,
)
from vidx4.diffusion.models.networks.tiny_network import TemporalAutoencoderTiny
from vidx4.diffusion.models.registry import load
from vidx4.diffusion.models.stream_diffvsr import (
    AUTOENCODER_PARAMETERS,
    CONTROLNET_PARAMETERS,
    UNET_PARAMETERS,
)
from vidx4.diffusion.options import UpscaleOptions
from vidx4.diffusion.sampler import Sampler, Shown
from vidx4.diffusion.settings import Settings
from vidx4.frames import Box
from vidx4.temporal.follow import Followed
from vidx4.temporal.noise import Role
from vidx4.temporal.warp import fetch_shifted

CPU = torch.device("cpu")
REFERENCE = Path(__file__).parents[2] / "data" / "stream_diffvsr.npz"
"""Results of the published code; see the README beside them."""
EXACT = 1e-10
"""Tolerance of what is computed in float64."""
FRAMES_TOLERANCE = 1e-5
"""Tolerance of whole frames in float32, whose values reach 5."""
RESIDUALS_TOLERANCE = 2e-5
"""Tolerance of an evaluation in float32, whose operations are in another order than those of diffusers."""


@pytest.fixture(scope="module")
def reference() -> dict[str, Tensor]:
    with np.load(REFERENCE) as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored}


@pytest.fixture(scope="module")
def components(stream_folder: Path) -> Components:
    """Return the tiny model, with the prompt of the reference."""
    loaded = load(str(stream_folder), CPU, torch.float32)
    embeds = PromptEmbeds(models.make_prompt(), models.make_prompt())
    return replace(loaded, prompt_embeds=embeds, denoiser=ControlledUNet(loaded.unet, embeds))


def settings_of(components: Components, **options: Any) -> Settings:
    return Settings.resolve(UpscaleOptions(model=components.name, **options), components)


@pytest.mark.parametrize(("height", "width"), [(64, 96), (72, 100)])
@torch.inference_mode()
def test_the_autoencoder_is_the_published_one(height: int, width: int, reference: dict[str, Tensor]) -> None:
    """Also where a quarter of the size is no multiple of the squares that are averaged."""
    network = models.fill(models.make_autoencoder(), "vae").double()
    picture = models.uniform("picture", (1, 3, height, width), 1.2).double()
    latents = models.uniform("latents", (1, 4, height // 4, width // 4), 3.0).double()
    features = network.features(picture)
    found = {f"features.{index}": each for index, each in enumerate(features)}
    found |= {"alone": network.decode(latents), "seeing": network.decode(latents, list(features))}
    for name, field in found.items():
        expected = reference[f"{name}.{height}x{width}"]
        torch.testing.assert_close(some_of(field, len(expected)), expected, rtol=0, atol=EXACT)


def some_of(field: Tensor, number: int) -> Tensor:
    """Return values from all over a field, as they were stored."""
    flat = field.flatten()
    places = np.linspace(0, len(flat) - 1, number).round().astype(np.int64)
    return flat[torch.from_numpy(places)]


@torch.inference_mode()
def test_the_autoencoder_takes_any_memory_format() -> None:
    network = models.fill(models.make_autoencoder(), "vae")
    picture = models.uniform("picture", (1, 3, 32, 48), 1.2)
    latents = models.uniform("latents", (1, 4, 8, 12), 3.0)
    plain = network.decode(latents, network.features(picture))
    network.to(memory_format=torch.channels_last)
    torch.testing.assert_close(network.decode(latents, network.features(picture)), plain, rtol=0, atol=1e-4)


@pytest.mark.parametrize("classes", [None, 1000])
@torch.inference_mode()
def test_residuals_enter_the_unet_as_in_diffusers(classes: int | None) -> None:
    unet = models.fill(models.make_unet(classes=classes), "unet")
    controlnet = models.fill(models.make_controlnet(unet), "controlnet")
    sample, picture = models.uniform("sample", (1, 7, 16, 24), 1.7), models.uniform("seen", (1, 3, 64, 96), 1)
    prompt, t = models.make_prompt(), torch.tensor(749)
    labels = None if classes is None else torch.tensor([LABEL])
    down, middle = controlnet(
        sample,
        t,
        encoder_hidden_states=prompt,
        controlnet_cond=picture,
        class_labels=labels,
        return_dict=False,
    )
    inputs = {"encoder_hidden_states": prompt, "class_labels": labels, "return_dict": False}
    expected = unet(
        sample,
        t,
        down_block_additional_residuals=down,
        mid_block_additional_residual=middle,
        **inputs,
    )[0]
    alone = unet(sample, t, **inputs)[0]
    embeds = PromptEmbeds(prompt, prompt)
    staged = ControlledUNet(ControlledNetworks(unet, controlnet), embeds)
    found = staged.seeing(picture)(sample, t, 0, prompt, None).output
    torch.testing.assert_close(found, expected, rtol=0, atol=RESIDUALS_TOLERANCE)
    assert (expected - alone).abs().max() > 1000 * RESIDUALS_TOLERANCE
    # A denoiser that has seen a picture leaves the one that it was made from as it is.
    torch.testing.assert_close(
        staged(sample, t, 0, prompt, None).output, alone, rtol=0, atol=RESIDUALS_TOLERANCE
    )
    control = StagedControlNet(controlnet, embeds)
    embedding = control.embedding(sample, t)
    residuals = control.residuals(sample, embedding, prompt, control.embedded(picture))
    for one, other in zip(residuals, [*down, middle], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=RESIDUALS_TOLERANCE)


def test_the_steps_are_those_of_the_published_scheduler(components: Components) -> None:
    scheduler = Sampler(components, settings_of(components))._scheduler
    scheduler.set_timesteps(4)
    assert scheduler.timesteps.tolist() == [999, 749, 499, 249]
    latents, predicted = torch.full((1,), 0.5), torch.full((1,), 0.25)
    product, first = (scheduler.alphas_cumprod[index].double() for index in (249, 0))
    clean = product.sqrt() * latents - (1 - product).sqrt() * predicted
    noise = product.sqrt() * predicted + (1 - product).sqrt() * latents
    expected = first.sqrt() * clean + (1 - first).sqrt() * noise
    found = scheduler.step(predicted, torch.tensor(249), latents, return_dict=False)[0]
    torch.testing.assert_close(found.double(), expected.double(), rtol=0, atol=1e-6)


def test_frames_are_those_of_the_published_pipeline(
    components: Components, reference: dict[str, Tensor]
) -> None:
    """Three frames in a row, with the same latents and flows."""
    height, width = 8, 16
    sampler = Sampler(components, settings_of(components, recall="reference"))
    last: Tensor | None = None
    box = Box(0, height, 0, width)
    for index in range(3):
        gray = models.uniform(f"frame.{index}", (3, height, width), 0.5) + 0.5
        noise = models.uniform(f"noise.{index}", (1, 4, height, width), 3**0.5)[0]
        frame = Followed((gray * 255).round().to(torch.uint8), box, {Role.LATENTS: noise})
        shown = None
        if last is not None:
            flow = models.uniform(f"flow.{index}", (1, 2, 4 * height, 4 * width), 6.0)
            shown = Shown(fetch_shifted(last, flow))
        last = sampler([frame], box, None, shown).pixels
        torch.testing.assert_close(last[0], reference[f"loop.{index}"], rtol=0, atol=FRAMES_TOLERANCE)


def test_the_real_networks_have_the_published_numbers_of_weights() -> None:
    with torch.device("meta"):
        unet = models.make_unet(sd_x4.REAL_WIDTHS, text_width=1024)
        controlnet = models.make_controlnet(unet, models.REAL_CONTROL)
        autoencoder = TemporalAutoencoderTiny()
    found = [
        sum(each.numel() for each in network.parameters()) for network in (unet, controlnet, autoencoder)
    ]
    assert found == [UNET_PARAMETERS, CONTROLNET_PARAMETERS, AUTOENCODER_PARAMETERS]
    assert found == [472_374_020, 207_699_264, 2_052_501]
    shapes = {name: tuple(each.shape) for name, each in autoencoder.state_dict().items()}
    assert shapes["encoder.layers.10.weight"] == (4, 64, 3, 3)
    assert shapes["decoder.layers.13.weight"] == (3, 64, 3, 3)
    assert shapes["decoder.layers.12.temporal_processor.2.weight"] == (64, 64, 3)
    assert shapes["decoder.layers.2.alpha"] == ()
    blocks = {name.rsplit(".", 1)[0] for name in shapes if name.endswith(".alpha")}
    assert blocks == {f"encoder.layers.{n}" for n in (1, 3, 4, 5, 7, 8, 9)} | {
        f"decoder.layers.{n}" for n in (2, 3, 4, 7, 8, 9, 12)
    }
    without_bias = ("encoder.layers.2", "encoder.layers.6", "decoder.layers.6", "decoder.layers.11")
    assert not any(f"{name}.bias" in shapes for name in without_bias)
