"""The state of a training run, and one step of it."""

import json
import math
import time
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from diffusers import DDIMScheduler, DDPMScheduler
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.utils import parametrize

from scripts.evaluate.metrics import Lpips
from scripts.training.branches import add_branches, merged_parameters
from scripts.training.card import read_history, write_history
from scripts.training.config import Config
from scripts.training.losses import (
    FeatureDistance,
    PatchDiscriminator,
    discriminator_loss,
    excess_on_flat_areas,
    generator_loss,
)
from scripts.training.optimizer import Optimizer, flatten_kernels
from scripts.training.rate import operations
from scripts.training.recurrence import AUTOENCODER, LAST, Past, conditions, decode
from scripts.training.stream import NUM_TIMESTEPS, Batch, Frame
from scripts.training.teacher import Span
from vidx4.diffusion.bicubic import enlarge
from vidx4.diffusion.models.networks.compact_denoiser import CompactDenoiser
from vidx4.frames import SCALE
from vidx4.temporal.warp import Warp

ADVERSARY_WARMUP = 200
"""Steps in which the adversary's weight rises, since it begins knowing nothing."""


def make_schedulers() -> tuple[DDIMScheduler, DDPMScheduler]:
    """Return the latents' scheduler, which leaves nothing of the picture at its end, and the frames' one.

    The latter adds no noise: a noise level only tells the network how damaged a frame is.
    """
    latents = DDIMScheduler(
        num_train_timesteps=NUM_TIMESTEPS,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    )
    return latents, DDPMScheduler(beta_start=0.0, beta_end=0.0, beta_schedule="linear")


class Trainer:
    """Weights, their moving average, the optimiser, what was remembered last, and the step.

    Args:
        config: settings of this stage.
        device: the device to train on.
        lpips: the metric that texture is trained on.
        is_compiled: whether to compile the network first.
    """

    def __init__(
        self, config: Config, device: torch.device, lpips: Lpips, *, is_compiled: bool = False
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.device = config, device
        self.model, self.average = self._new_model(), self._new_model()
        self.average.load_state_dict(self.model.state_dict())
        if config.branch_width:
            add_branches(self.model, config.branch_width)
        matrices = flatten_kernels(self.model) if config.kernel_rate else []
        self.discriminator = PatchDiscriminator().to(device)
        self.optimizer = Optimizer(self.model, config, matrices)
        self.discriminator_optimizer = Optimizer(self.discriminator, config)
        self.scheduler, self.low_res_scheduler = make_schedulers()
        self.history: list[dict[str, Any]] = []
        self.step = 0
        self.seconds = 0.0
        self.best = -math.inf
        self._network: Any = torch.compile(self.model) if is_compiled else self.model
        self._lpips = lpips.to(device)
        self._feature_distance = FeatureDistance().to(device) if config.feature_weight else None
        self._teacher = Span().to(device) if config.teacher_weight else None
        self._past: Past | None = None

    def _new_model(self) -> CompactDenoiser:
        config = self.config
        model = CompactDenoiser(
            width=config.width, num_blocks=config.num_blocks, max_noise_level=config.max_noise_level
        )
        return cast(CompactDenoiser, model.to(self.device, memory_format=torch.channels_last))

    def start_from(self, weights: Path) -> None:
        """Start from a model folder's weights, and continue its history."""
        self.history = read_history(weights)
        state = load_file(weights / "unet" / "diffusion_pytorch_model.safetensors")
        self.average.load_state_dict({key: value.float() for key, value in state.items()})
        with torch.no_grad():
            for name, value in self.average.named_parameters():
                own = name.replace(".weight", ".parametrizations.weight.original")
                parameters = dict(self.model.named_parameters())
                parameter = parameters[own] if own in parameters else parameters[name]
                parameter.copy_(value.reshape(parameter.shape))

    def train_step(self, batch: Batch) -> dict[str, float]:
        """Train for one step; return the losses."""
        start = time.perf_counter()
        batch = batch.to(self.device)
        losses: defaultdict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=self.device))
        with parametrize.cached(), self._autocast():
            past = self._past
            for index in range(len(batch.truth)):
                past = self._train_frame(batch, index, past, losses)
            self._update(losses)
        self._past = Past(past.results, past.hidden.detach()) if past is not None else None
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        self.seconds += time.perf_counter() - start
        return values

    def _train_frame(
        self, batch: Batch, index: int, past: Past | None, losses: defaultdict[str, Tensor]
    ) -> Past:
        """Add the losses of a frame; return what the next one is shown of it."""
        frame = batch.frame(index)
        shown, latents = conditions(frame, past), AUTOENCODER.encode(frame.truth, frame.low_res)
        last = torch.full_like(batch.level, LAST)
        predicted, hidden = self._predict(shown, last, batch.level, batch.texture)
        num_frames = len(batch.truth)
        losses["first"] += self._distance(predicted, latents, batch.texture) / num_frames
        if self._teacher is not None and batch.is_clean.any():
            losses["taught"] += self._distance_from_teacher(batch, frame, predicted) / num_frames
        judged, slots = [predicted], [torch.arange(len(predicted), device=self.device)]
        if len(batch.later):
            later = self._later(batch, index, predicted.detach(), latents, shown)
            share = len(batch.later) / len(batch.level) / num_frames
            texture = batch.texture[batch.later]
            losses["later"] += share * self._distance(later, latents[batch.later], texture)
            judged, slots = [*judged, later], [*slots, batch.later]
        if index == int(batch.judged) and self._judges:
            self._judge(batch, frame, past, torch.cat(judged), torch.cat(slots), losses)
        return Past(decode(predicted.detach(), frame.low_res), hidden)

    def _distance_from_teacher(self, batch: Batch, frame: Frame, predicted: Tensor) -> Tensor:
        """Return the distance of clean frames from the teacher's, as far as nothing is remembered.

        The teacher knows only nearness: the more texture is wanted, the less it counts.
        """
        assert self._teacher is not None
        chosen = batch.is_clean
        low_res, trust = frame.low_res[chosen], frame.trust[chosen]
        taught = AUTOENCODER.encode(self._teacher(low_res), low_res)
        weight = (1 - trust) * (1 - batch.texture[chosen].view(-1, 1, 1, 1))
        error = weight * (predicted[chosen] - taught).abs()
        distance: Tensor = self.config.teacher_weight * error.sum() / predicted.numel()
        return distance

    @property
    def _judges(self) -> bool:
        """Whether texture is judged in this step."""
        return self.config.texture_share > 0 and self.step % self.config.judged_every == 0

    def _judge(
        self,
        batch: Batch,
        frame: Frame,
        past: Past | None,
        predicted: Tensor,
        slots: Tensor,
        losses: defaultdict[str, Tensor],
    ) -> None:
        """Add the losses of texture for clean latents that belong to these slots, where it is wanted."""
        wanted = batch.texture[slots] > 0
        slots, texture = slots[wanted], batch.texture[slots[wanted]]
        truth, low_res = frame.truth[slots], frame.low_res[slots]
        pictures = AUTOENCODER.decode(predicted[wanted], low_res)
        self._compare(pictures, truth, enlarge(low_res), texture, losses)
        if past is not None:
            before = batch.frame(int(batch.judged) - 1).truth[slots]
            warp = Warp.along(frame.flow[slots], frame.trust[slots], SCALE)
            with torch.no_grad():
                true_change, last = truth - warp.fetch(before), warp.fetch(past.results[slots])
            error = (pictures - last - true_change).abs() * warp.trust
            error = texture * error.mean(dim=(1, 2, 3))
            losses["temporal"] += self.config.temporal_weight * error.mean()

    def _compare(
        self,
        pictures: Tensor,
        truth: Tensor,
        enlarged: Tensor,
        texture: Tensor,
        losses: defaultdict[str, Tensor],
    ) -> None:
        """Add the losses of how unlike the truth pictures look, weighted by the wanted texture.

        All of them see another part in each step, from any pixel on: a judge whose strides always fell on the
        same pixels of the network's blocks of 4x4 would leave a pattern of that size unseen.
        """
        pictures, truth, enlarged = self._cropped(pictures, truth, enlarged)
        pair, config = (pictures / 2 + 0.5, truth / 2 + 0.5), self.config
        losses["perceptual"] += config.perceptual_weight * (texture * self._lpips(*pair)).mean()
        if self._feature_distance is not None:
            losses["features"] += config.feature_weight * (texture * self._feature_distance(*pair)).mean()
        weight = config.adversarial_weight * min(1.0, (self.step + 1) / ADVERSARY_WARMUP)
        losses["adversarial"] += weight * self._fooled(pictures, truth, enlarged, texture)
        if config.flat_weight:
            losses["flat"] += config.flat_weight * excess_on_flat_areas(pictures, truth).mean()

    def _cropped(self, *pictures: Tensor) -> list[Tensor]:
        """Return the part of pictures that is judged in this step."""
        height, width = pictures[0].shape[-2:]
        side, rng = self.config.judged_side, np.random.default_rng((self.config.seed, self.step))
        top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
        return [each[..., top : top + side, left : left + side] for each in pictures]

    def _fooled(self, pictures: Tensor, truth: Tensor, enlarged: Tensor, texture: Tensor) -> Tensor:
        """Train the discriminator; return its judgement of pictures, weighted by the wanted texture."""
        real, fake = (self.discriminator(each, enlarged) for each in (truth, pictures.detach()))
        loss = discriminator_loss(real, fake)
        self.discriminator_optimizer.zero_grad()
        loss.backward()
        _average_over_processes(self.discriminator)
        self.discriminator_optimizer.step(self._rate)
        real, fake = self.discriminator(truth, enlarged).detach(), self.discriminator(pictures, enlarged)
        return (texture.view(-1, 1, 1, 1) * generator_loss(real, fake)).mean()

    def _later(self, batch: Batch, index: int, predicted: Tensor, latents: Tensor, shown: Tensor) -> Tensor:
        """Return the clean latents that a step after the first predicts, for some of the sequences."""
        chosen = batch.later
        clean = torch.where(_each(batch.is_own[index]), predicted[chosen], latents[chosen])
        # The second of any number of steps starts from the first prediction, and the noise of the start.
        noisy = self.scheduler.add_noise(clean, batch.noise[index], batch.timestep[index])
        sample = torch.cat([noisy, shown[chosen]], dim=1)
        known = batch.timestep[index], batch.level[chosen], batch.texture[chosen]
        return self._predict(sample, *known)[0]

    def _predict(
        self, sample: Tensor, timestep: Tensor, level: Tensor, texture: Tensor
    ) -> tuple[Tensor, Tensor]:
        predicted, hidden = self._network(sample, timestep, class_labels=level, texture=texture)
        return predicted.float(), hidden

    def _distance(self, predicted: Tensor, latents: Tensor, texture: Tensor) -> Tensor:
        """Return the distance of latents from the truth, which counts less where texture is wanted."""
        error = predicted - latents
        error = error.square() if self.config.squared else error.abs()
        weight = 1 - (1 - self.config.textured_nearness) * texture
        return (weight * error.mean(dim=(1, 2, 3))).mean()

    def _autocast(self) -> Any:
        capabilities = torch.cpu.get_capabilities()
        fast = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or self.device.type == "cuda"
        return torch.autocast(self.device.type, torch.bfloat16) if fast else nullcontext()

    def operations(self, batch: Batch) -> float:
        """Return the operations of the network in a step of training; a multiply-add counts as two."""
        num_weights = sum(parameter.numel() for parameter in self.average.parameters() if parameter.ndim == 4)
        num_frames, num_slots = batch.low_res.shape[:2]
        share = 1 + len(batch.later) / num_slots
        return 3 * share * num_frames * operations(num_weights, batch.low_res[0])

    def _update(self, losses: dict[str, Tensor]) -> None:
        """Add the gradients of a step; change the weights if it is the last of an update."""
        loss = sum(losses.values(), torch.zeros((), device=self.device))
        (loss / self.config.steps_per_update).backward()
        self.step += 1
        if self.step % self.config.steps_per_update:
            return
        _average_over_processes(self.model)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step(self._rate)
        self._update_average()

    @property
    def _rate(self) -> float:
        """The learning rate, as a share of the highest."""
        config = self.config
        warm = min(1.0, self.step / config.warmup)
        left = (config.num_steps - self.step) / (config.decay_share * config.num_steps + 1)
        return warm * min(1.0, max(left, 0.01))

    @torch.no_grad()
    def _update_average(self) -> None:
        """Move the average towards the weights, with their branches merged."""
        num_updates = self.step // self.config.steps_per_update
        decay = min(self.config.ema_decay, (num_updates + 1) / (num_updates + 10))
        merged = merged_parameters(self.model, self.average)
        torch._foreach_lerp_(list(self.average.parameters()), merged, 1 - decay)

    def save(self, path: Path) -> None:
        """Write the whole state; what was remembered last is left out, so every slot then starts anew."""
        state = {
            "config": asdict(self.config),
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "history": self.history,
            **{name: getattr(self, name).state_dict() for name in _STATES},
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Resume from a state that `save` wrote."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["config"] != asdict(self.config):
            raise SystemExit(f"{path} has another configuration: {state['config']}")
        for name in _STATES:
            getattr(self, name).load_state_dict(state[name])
        for name in ("step", "seconds", "best", "history"):
            setattr(self, name, state[name])

    def export(self, folder: Path, scores: dict[str, float], recipe: str) -> None:
        """Write the averaged weights as a model folder in diffusers format, fp16, with their history."""
        half = self._new_model()
        half.load_state_dict(self.average.state_dict())
        half.half().save_pretrained(folder / "unet")
        AUTOENCODER.save_config(folder / "vae")
        self.scheduler.save_config(folder / "scheduler")
        self.low_res_scheduler.save_config(folder / "low_res_scheduler")
        index = {"_class_name": "CompactUpscaler", "max_noise_level": self.config.max_noise_level}
        (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
        record = {
            "date": time.strftime("%Y-%m-%d"),
            "recipe": recipe,
            "step": self.step,
            "hours": round(self.seconds / 3600, 2),
            "processes": dist.get_world_size() if dist.is_initialized() else 1,
            "device": _name(self.device),
            "config": asdict(self.config),
        }
        write_history(folder, [*self.history, record | scores])


_STATES = "model", "average", "discriminator", "optimizer", "discriminator_optimizer"


def _average_over_processes(network: torch.nn.Module) -> None:
    """Average the gradients of a network over all processes that train together."""
    if not dist.is_initialized():
        return
    gradients = [_gradient(parameter) for parameter in network.parameters()]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, flat.split([each.numel() for each in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def _gradient(parameter: torch.nn.Parameter) -> Tensor:
    """Return the gradient of a parameter; zero where this process had no use for it."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _each(flags: Tensor) -> Tensor:
    return flags.view(-1, 1, 1, 1)


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    return f"{torch.cpu.get_capabilities()['cpu_name']}, {torch.get_num_threads()} threads"
