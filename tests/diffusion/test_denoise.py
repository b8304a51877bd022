"""The denoising loop equals diffusers' own pipeline, except for the deliberate differences named here."""

from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests import sd_x4
from vidx4.diffusion.denoise import (
    Denoiser,
    PlainDenoiser,
    Prediction,
    PromptEmbeds,
    add_low_res_noise,
    clean_latents,
    denoise,
)
from vidx4.diffusion.models.networks import compiled as compiled_variants
from vidx4.diffusion.models.networks.autoencoder import TiledAutoencoder
from vidx4.diffusion.models.networks.unet import StagedUNet
from vidx4.diffusion.schedulers import FEW_STEPS, SCHEDULERS, make_scheduler

STEPS = 3
MakeDenoiser = Callable[[Any, PromptEmbeds], Denoiser]


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return sd_x4.make_pipeline()


def plain(unet: Any, _: PromptEmbeds) -> PlainDenoiser:
    return PlainDenoiser(unet)


def staged(unet: Any, prompt_embeds: PromptEmbeds) -> StagedUNet:
    return StagedUNet(deepcopy(unet), prompt_embeds)  # which changes the network


@torch.inference_mode()
def ours(
    pipeline: Any,
    low_res: Tensor,
    prompts: tuple[str, str],
    seed: int,
    make_denoiser: MakeDenoiser = staged,
    **options: Any,
) -> Tensor:
    """Denoise and decode with the noise that diffusers draws; low_res in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    low_res_noise = torch.randn(low_res.shape, generator=generator)
    latents = torch.randn((len(low_res), 4, *low_res.shape[2:]), generator=generator)
    seen = add_low_res_noise(
        2 * low_res - 1, low_res_noise, options["noise_level"], pipeline.low_res_scheduler
    )
    prompt_embeds = PromptEmbeds(*pipeline.encode_prompt(prompts[0], "cpu", 1, True, prompts[1]))
    unet = make_denoiser(pipeline.unet, prompt_embeds)
    clean = denoise(unet, pipeline.scheduler, seen, latents, prompt_embeds=prompt_embeds, **options).latents
    decoded = TiledAutoencoder(pipeline.vae).decode(clean, seen)
    return (decoded * 0.5 + 0.5).clamp(0, 1)


def theirs(pipeline: Any, low_res: Tensor, prompts: tuple[str, str], seed: int, **options: Any) -> Tensor:
    result = pipeline(
        prompt=[prompts[0]] * len(low_res),
        negative_prompt=[prompts[1]] * len(low_res),
        image=low_res,
        generator=torch.Generator().manual_seed(seed),
        output_type="np",
        **options,
    )
    return torch.from_numpy(result.images).permute(0, 3, 1, 2)


@pytest.mark.parametrize(("make_denoiser", "tolerance"), [(plain, 1e-6), (staged, 2e-5)])
@pytest.mark.parametrize("noise_level", [0, 20, 350])
@pytest.mark.parametrize("num_frames", [1, 2])
@pytest.mark.parametrize("guidance_scale", [1.0, 9.0])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (36, 44)])
def test_equals_diffusers(
    pipeline: Any,
    height: int,
    width: int,
    guidance_scale: float,
    num_frames: int,
    noise_level: int,
    make_denoiser: MakeDenoiser,
    tolerance: float,
) -> None:
    low_res = torch.rand(num_frames, 3, height, width)
    options = {
        "num_inference_steps": STEPS,
        "guidance_scale": guidance_scale,
        "noise_level": noise_level,
    }
    prompts = ("a dog", "blur")
    expected = theirs(pipeline, low_res, prompts, seed=7, **options)
    actual = ours(pipeline, low_res, prompts, seed=7, make_denoiser=make_denoiser, **options)
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def test_guidance_changes_the_picture(pipeline: Any) -> None:
    low_res = torch.rand(1, 3, 16, 16)
    results = [
        ours(
            pipeline,
            low_res,
            ("a dog", "blur"),
            seed=1,
            num_inference_steps=STEPS,
            guidance_scale=scale,
            noise_level=20,
        )
        for scale in (1.0, 9.0)
    ]
    assert (results[0] - results[1]).abs().max() > 1e-3


def test_guidance_is_skipped_if_both_prompts_are_equal(pipeline: Any) -> None:
    sizes: list[int] = []
    hook = pipeline.unet.conv_in.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    low_res = torch.rand(2, 3, 16, 16)
    options: dict[str, Any] = {"num_inference_steps": STEPS, "guidance_scale": 9.0, "noise_level": 20}
    actual = ours(pipeline, low_res, ("", ""), seed=3, **options)
    hook.remove()
    assert sizes == [2] * STEPS
    expected = theirs(pipeline, low_res, ("", ""), seed=3, **options)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


def test_low_res_noise_has_the_right_strength() -> None:
    """Diffusers rounds the schedule first: in bfloat16 the noise of level 20 is too strong by a fifth."""
    _, scheduler = sd_x4.make_schedulers()
    noise = torch.randn(1, 3, 64, 64)
    added = add_low_res_noise(torch.zeros(1, 3, 64, 64), noise, 20, scheduler)
    sigma = float((1 - scheduler.alphas_cumprod[20]).sqrt())
    torch.testing.assert_close(added, sigma * noise, rtol=1e-5, atol=0)
    halved = scheduler.add_noise(torch.zeros(1, 3, 64, 64).bfloat16(), noise.bfloat16(), torch.tensor([20]))
    assert float(halved.float().std()) / sigma > 1.15


def test_frames_share_a_single_noise(pipeline: Any) -> None:
    frame = torch.rand(1, 3, 16, 24)
    prompt_embeds = PromptEmbeds(torch.rand(1, 77, 32), torch.rand(1, 77, 32))
    latents = denoise(
        staged(pipeline.unet, prompt_embeds),
        pipeline.scheduler,
        frame.expand(3, -1, -1, -1),
        torch.randn(1, 4, 16, 24),
        noise_level=20,
        num_inference_steps=2,
        prompt_embeds=prompt_embeds,
        guidance_scale=5.0,
    ).latents
    torch.testing.assert_close(latents[0], latents[2], rtol=0, atol=1e-5)


class CountingUNet:
    """A staged UNet that records how many rows pass its outer and its deep blocks."""

    def __init__(self, unet: Any, prompt_embeds: PromptEmbeds) -> None:
        unet = deepcopy(unet)
        self.staged = StagedUNet(unet, prompt_embeds)
        self.outer: list[int] = []
        self.deep: list[int] = []
        self.embedded: list[int] = []
        unet.conv_in.register_forward_pre_hook(lambda _, inputs: self.outer.append(len(inputs[0])))
        unet.mid_block.register_forward_pre_hook(lambda _, inputs: self.deep.append(len(inputs[0])))
        unet.time_embedding.register_forward_pre_hook(lambda _, inputs: self.embedded.append(1))


@pytest.fixture
def prompt_embeds() -> PromptEmbeds:
    return PromptEmbeds(torch.rand(1, 77, 32), torch.rand(1, 77, 32))


@torch.inference_mode()
def run(
    unet: Denoiser, scheduler: Any, prompt_embeds: PromptEmbeds, num_frames: int = 2, **options: Any
) -> Tensor:
    """Denoise frames of noise in six steps."""
    generator = torch.Generator().manual_seed(4)
    low_res, latents = (torch.randn(2, channels, 16, 24, generator=generator) for channels in (3, 4))
    defaults: dict[str, Any] = {"noise_level": 20, "num_inference_steps": 6, "guidance_scale": 5.0}
    frames = low_res[:num_frames], latents[:num_frames]
    return denoise(unet, scheduler, *frames, prompt_embeds=prompt_embeds, **defaults | options).latents


def test_guidance_stops_after_its_share_of_the_steps(pipeline: Any, prompt_embeds: PromptEmbeds) -> None:
    counting = CountingUNet(pipeline.unet, prompt_embeds)
    run(counting.staged, pipeline.scheduler, prompt_embeds, guidance_stop=0.5)
    assert counting.outer == counting.deep == [4, 4, 4, 2, 2, 2]


def test_features_are_reused_for_the_cache_interval(pipeline: Any, prompt_embeds: PromptEmbeds) -> None:
    counting = CountingUNet(pipeline.unet, prompt_embeds)
    run(counting.staged, pipeline.scheduler, prompt_embeds, guidance_stop=0.5, cache_interval=2)
    assert counting.outer == [4, 4, 4, 2, 2, 2]
    assert counting.deep == [4, 4, 2]


def test_reused_features_of_the_same_sample_change_nothing(
    pipeline: Any, prompt_embeds: PromptEmbeds
) -> None:
    unet, sample = staged(pipeline.unet, prompt_embeds), torch.randn(2, 7, 16, 24)
    t, prompts = torch.tensor(501), prompt_embeds.both
    with torch.inference_mode():
        first = unet(sample, t, 20, prompts, None)
        again = unet(sample, t, 20, prompts, first.features)
    assert torch.equal(first.output, again.output)


class RememberingDenoiser:
    """A denoiser whose hidden state tells the timestep, and each row's place in the batch."""

    dtype = torch.float32

    def like(self, network: Any, prompt_embeds: PromptEmbeds | None) -> "RememberingDenoiser":
        """Return another one."""
        return RememberingDenoiser()

    def compile(self, batch_size: int | None) -> None:
        """Do nothing."""

    def __call__(
        self, sample: Tensor, t: Tensor, noise_level: int, prompts: Tensor | None, features: Tensor | None
    ) -> Prediction:
        rows = torch.arange(len(sample))
        return Prediction(sample[:, :4], None, torch.stack([t.expand(len(sample)), rows], dim=1))


def test_the_hidden_state_is_that_of_the_first_step(pipeline: Any, prompt_embeds: PromptEmbeds) -> None:
    low_res, latents = torch.randn(2, 3, 8, 8), torch.randn(2, 4, 8, 8)
    options: dict[str, Any] = {"noise_level": 20, "num_inference_steps": 3, "guidance_scale": 5.0}
    denoised = denoise(
        RememberingDenoiser(), pipeline.scheduler, low_res, latents, prompt_embeds=prompt_embeds, **options
    )
    first = int(pipeline.scheduler.timesteps[0])
    assert denoised.hidden is not None
    assert denoised.hidden.tolist() == [[first, 2], [first, 3]]  # the rows of the positive prompt


def test_a_denoiser_without_a_hidden_state_gives_none(pipeline: Any, prompt_embeds: PromptEmbeds) -> None:
    for make_denoiser in (plain, staged):
        unet, sample = make_denoiser(pipeline.unet, prompt_embeds), torch.randn(1, 7, 16, 16)
        with torch.inference_mode():
            prediction = unet(sample, torch.tensor(501), 20, prompt_embeds.positive, None)
        assert prediction.hidden is None


def test_constants_are_computed_once(pipeline: Any, prompt_embeds: PromptEmbeds) -> None:
    counting = CountingUNet(pipeline.unet, prompt_embeds)
    results = [run(counting.staged, pipeline.scheduler, prompt_embeds) for _ in range(2)]
    assert len(counting.embedded) == 6
    assert torch.equal(*results)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_converge_with_many_steps(pipeline: Any, prompt_embeds: PromptEmbeds, name: str) -> None:
    """All of them solve the same equation, and differ only with few steps."""
    unet = staged(pipeline.unet, prompt_embeds)

    def solved(name: str, num_steps: int) -> Tensor:
        scheduler = make_scheduler(pipeline.scheduler, name, num_steps)
        options: dict[str, Any] = {"num_inference_steps": num_steps, "guidance_scale": 1.0}
        return run(unet, scheduler, prompt_embeds, **options)

    exact = solved("ddim", 100)
    near, far = (float((solved(name, count) - exact).pow(2).mean().sqrt()) for count in (40, 5))
    assert near < 0.3 * far
    assert near < 0.05 * float(exact.std())


@pytest.mark.parametrize("name", [None, *SCHEDULERS])
@pytest.mark.parametrize("num_steps", [1, 4, FEW_STEPS - 1, FEW_STEPS])
def test_few_steps_begin_at_the_end_of_the_schedule(pipeline: Any, name: str | None, num_steps: int) -> None:
    scheduler = make_scheduler(pipeline.scheduler, name, num_steps)
    scheduler.set_timesteps(num_steps)
    timesteps = scheduler.timesteps.tolist()
    assert len(timesteps) == num_steps
    assert all(later < earlier for earlier, later in pairwise(timesteps))
    assert (timesteps[0] == 999) == (num_steps < FEW_STEPS or name in ("dpmpp", "unipc"))


@pytest.mark.parametrize("prediction_type", ["v_prediction", "epsilon", "sample"])
def test_clean_latents_equal_the_schedulers(pipeline: Any, prediction_type: str) -> None:
    scheduler = type(pipeline.scheduler).from_config(
        pipeline.scheduler.config, prediction_type=prediction_type
    )
    scheduler.set_timesteps(20)
    predicted, latents = torch.randn(2, 1, 4, 8, 8)
    for t in scheduler.timesteps:
        expected = scheduler.step(predicted, t, latents).pred_original_sample
        torch.testing.assert_close(clean_latents(scheduler, predicted, latents, t), expected)


@pytest.mark.slow
def test_equals_diffusers_at_full_size() -> None:
    """In the exact configuration of the published model, from 40x32 to 160x128 in two steps."""
    unet = sd_x4.make_unet(sd_x4.REAL_WIDTHS, text_width=1024).eval()
    vae = sd_x4.make_vae((128, 256, 512)).eval()
    assert sum(p.numel() for p in unet.parameters()) == 473_398_020
    assert sum(p.numel() for p in vae.parameters()) == 55_325_927
    pipeline = sd_x4.make_pipeline()
    pipeline.register_modules(unet=unet, vae=vae, text_encoder=sd_x4.make_text_encoder(1024).eval())
    options: dict[str, Any] = {"num_inference_steps": 2, "guidance_scale": 9.0, "noise_level": 20}
    low_res = torch.rand(1, 3, 32, 40)
    expected = theirs(pipeline, low_res, ("a dog", "blur"), seed=5, **options)
    actual = ours(pipeline, low_res, ("a dog", "blur"), seed=5, make_denoiser=StagedUNet, **options)
    assert np.isfinite(actual.numpy()).all()
    torch.testing.assert_close(actual, expected, rtol=0, atol=2e-5)


@pytest.mark.slow
def test_a_compiled_network_gives_the_same_from_full_batches(
    pipeline: Any, prompt_embeds: PromptEmbeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_rows: list[int] = []
    compile_ = torch.compile

    def noting(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        compiled = compile_(function, **options)

        def call(sample: Tensor, *rest: Any) -> Any:
            num_rows.append(len(sample))
            return compiled(sample, *rest)

        return call

    monkeypatch.setattr(torch, "compile", noting)
    unet = staged(sd_x4.make_unet(sd_x4.TINY_WIDTHS, 32, layers_per_block=1).eval(), prompt_embeds)
    options: dict[str, Any] = {"guidance_stop": 0.5, "cache_interval": 2}
    expected = run(unet, pipeline.scheduler, prompt_embeds, **options)
    monkeypatch.setattr(compiled_variants, "BACKEND", "eager")
    unet.compile(3)
    compiled = run(unet, pipeline.scheduler, prompt_embeds, **options)
    assert num_rows == [6, 6, 6, 3, 3, 3]
    torch.testing.assert_close(compiled, expected, rtol=0, atol=1e-4)
    alone = run(unet, pipeline.scheduler, prompt_embeds, num_frames=1, **options)
    assert torch.equal(alone, compiled[:1])


def test_compiling_for_one_job_does_not_affect_another(pipeline: Any, prompt_embeds: PromptEmbeds) -> None:
    unet = staged(pipeline.unet, prompt_embeds)
    expected = run(unet, pipeline.scheduler, prompt_embeds)
    unet.compile(1)
    unet.compile(None)
    assert torch.equal(run(unet, pipeline.scheduler, prompt_embeds), expected)
