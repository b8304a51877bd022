"""The state of a training run, and one step of it."""

import json
import math
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DDPMScheduler
from safetensors.torch import load_file
from torch import Tensor

from scripts.evaluate.metrics import Lpips
from scripts.training.card import read_history, write_history
from scripts.training.config import Config
from scripts.training.losses import PatchDiscriminator, discriminator_loss, generator_loss
from scripts.training.stream import NUM_TIMESTEPS, Batch
from vidx4.diffusion.bicubic import enlarge
from vidx4.diffusion.models.compact_denoiser import CompactDenoiser, Memory, ResidualAutoencoder
from vidx4.frames import SCALE
from vidx4.temporal.warp import Warp

LAST = NUM_TIMESTEPS - 1


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


@dataclass(frozen=True)
class _Evaluation:
    """Inputs of the network in one step, on the device."""

    batch: Batch
    truth: Tensor
    low_res: Tensor
    conditions: Tensor
    latents: Tensor
    """Latents of the truth."""
    warp: Warp
    moved: Tensor
    """The last results, warped to this frame."""


class Trainer:
    """Weights, their moving average, optimisers, the last results of all slots, and the step.

    Args:
        config: settings of this stage.
        device: the device to train on.
        lpips: the metric that texture is trained on; needed if it has a weight.
        is_compiled: whether to compile the network first.
    """

    def __init__(
        self, config: Config, device: torch.device, lpips: Lpips | None, *, is_compiled: bool
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.device = config, device
        self.model, self.average = self._new_model(), self._new_model()
        self.average.load_state_dict(self.model.state_dict())
        self.discriminator = PatchDiscriminator().to(device)
        self.optimizer = _optimizer(self.model, config.learning_rate)
        self.discriminator_optimizer = _optimizer(self.discriminator, config.learning_rate)
        self.autoencoder = ResidualAutoencoder()
        self.memory = Memory(self.autoencoder)
        self.scheduler, self.low_res_scheduler = make_schedulers()
        self.history: list[dict[str, Any]] = []
        self.step = 0
        self.best = -math.inf
        self._network: Any = torch.compile(self.model) if is_compiled else self.model
        self._lpips = None if lpips is None else lpips.to(device)
        side = SCALE * config.side
        self._results = torch.zeros(config.batch_size, 3, side, side, device=device)

    def _new_model(self) -> CompactDenoiser:
        model = CompactDenoiser(width=self.config.width, num_blocks=self.config.num_blocks)
        return cast(CompactDenoiser, model.to(self.device, memory_format=torch.channels_last))

    def start_from(self, weights: Path) -> None:
        """Start from a model folder's weights, and continue its history."""
        self.history = read_history(weights)
        state = load_file(weights / "unet" / "diffusion_pytorch_model.safetensors")
        for model in (self.model, self.average):
            model.load_state_dict({key: value.float() for key, value in state.items()})

    def train_step(self, batch: Batch) -> dict[str, float]:
        """Train for one step; return the losses."""
        self._set_learning_rate()
        batch = batch.to(self.device)
        is_texture = batch.timestep < LAST
        with self._autocast():
            shown = self._shown(batch)
            noisy, first = self._rolled_out(shown, is_texture)
            noised = self.scheduler.add_noise(shown.latents, batch.noise, batch.timestep)
            noisy = torch.where(_each(batch.is_rollout), noisy, noised)
            predicted = self._predict(noisy, shown.conditions, batch)
            losses = {"pixels": F.l1_loss(predicted, shown.latents)}
            if self.config.temporal_weight:
                losses["temporal"] = self.config.temporal_weight * self._unsteadiness(shown, predicted)
            if self._is_perceptual:
                losses["perceptual"] = self._perceptual_loss(shown, predicted, is_texture)
            if self.config.adversarial_weight and is_texture.any():
                losses |= self._adversarial_losses(shown, predicted, is_texture)
        self._update(losses)
        remembered = torch.where(_each(is_texture), first, predicted.detach())
        self._results = self._decode(remembered, shown.low_res)
        return {name: float(loss.detach()) for name, loss in losses.items()}

    @property
    def _is_perceptual(self) -> bool:
        return max(self.config.perceptual_weight, self.config.first_perceptual_weight) > 0

    def _autocast(self) -> Any:
        capabilities = torch.cpu.get_capabilities()
        fast = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or self.device.type == "cuda"
        return torch.autocast(self.device.type, torch.bfloat16) if fast else nullcontext()

    def _shown(self, batch: Batch) -> _Evaluation:
        truth, low_res = _signal(batch.truth), _signal(batch.low_res)
        with torch.no_grad():
            warp = Warp.along(batch.flow, batch.trust, SCALE)
            moved = warp.fetch(self._results)
            memory = self.memory(moved, batch.trust, low_res)
            latents = self.autoencoder.encode(truth, low_res)
        return _Evaluation(batch, truth, low_res, torch.cat([low_res, memory], 1), latents, warp, moved)

    @torch.no_grad()
    def _rolled_out(self, shown: _Evaluation, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Denoise as the program does, up to the step that is trained.

        Returns:
            Noisy latents before that step, and the clean ones that the first step predicted, which is what
            later frames remember, (N, 48, H, W); zeros in slots that are not wanted.
        """
        noisy, first = torch.zeros_like(shown.latents), torch.zeros_like(shown.latents)
        if not wanted.any():
            return noisy, first
        batch, conditions = shown.batch, shown.conditions[wanted]
        latents, predictions = batch.noise[wanted], []
        self.scheduler.set_timesteps(batch.rollout.num_steps, device=self.device)
        for timestep in self.scheduler.timesteps[: batch.rollout.index]:
            sample = torch.cat([latents, conditions], 1)
            predictions.append(self.model(sample, timestep, class_labels=batch.level[wanted])[0].float())
            latents = self.scheduler.step(predictions[-1], timestep, latents).prev_sample
        noisy[wanted], first[wanted] = latents, predictions[0]
        return noisy, first

    def _predict(self, noisy: Tensor, conditions: Tensor, batch: Batch) -> Tensor:
        sample = torch.cat([noisy, conditions], 1)
        predicted: Tensor = self._network(sample, batch.timestep, class_labels=batch.level)[0].float()
        return predicted

    def _decode(self, latents: Tensor, low_res: Tensor) -> Tensor:
        pictures: Tensor = self.autoencoder.decode(latents, low_res).clamp(-1, 1)
        return pictures

    def _perceptual_loss(self, shown: _Evaluation, predicted: Tensor, is_texture: Tensor) -> Tensor:
        """Return the weighted perceptual distance; each kind of timestep has its own weight."""
        assert self._lpips is not None
        config, num_texture = self.config, int(is_texture.sum())
        texture = config.perceptual_weight / max(1, num_texture)
        first = config.first_perceptual_weight / max(1, len(is_texture) - num_texture)
        weights = torch.where(is_texture, texture, first)
        wanted = weights > 0
        pictures = self.autoencoder.decode(predicted[wanted], shown.low_res[wanted])
        distances = self._lpips(pictures / 2 + 0.5, shown.truth[wanted] / 2 + 0.5)
        loss: Tensor = (weights[wanted] * distances).sum()
        return loss

    def _adversarial_losses(self, shown: _Evaluation, predicted: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        low_res, truth = shown.low_res[wanted], shown.truth[wanted]
        pictures, enlarged = self.autoencoder.decode(predicted[wanted], low_res), enlarge(low_res)
        discriminator = self._train_discriminator(truth, pictures.detach(), enlarged)
        scores = self.discriminator(truth, enlarged).detach(), self.discriminator(pictures, enlarged)
        adversarial = self.config.adversarial_weight * generator_loss(*scores)
        return {"discriminator": discriminator, "adversarial": adversarial}

    def _unsteadiness(self, shown: _Evaluation, predicted: Tensor) -> Tensor:
        """Return the error of the change from the last result to this one, where motion is trusted."""
        pictures = self.autoencoder.decode(predicted, shown.low_res)
        before = shown.warp.fetch(_signal(shown.batch.previous_truth))
        error: Tensor = (pictures - shown.moved) - (shown.truth - before)
        return (error.abs() * shown.warp.trust).mean()

    def _train_discriminator(self, truth: Tensor, pictures: Tensor, enlarged: Tensor) -> Tensor:
        real, fake = (self.discriminator(each, enlarged) for each in (truth, pictures))
        loss = discriminator_loss(real, fake)
        self.discriminator_optimizer.zero_grad()
        loss.backward()
        self.discriminator_optimizer.step()
        return loss.detach()

    def _update(self, losses: dict[str, Tensor]) -> None:
        total = sum((loss for name, loss in losses.items() if name != "discriminator"), torch.tensor(0.0))
        self.optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self._update_average()
        self.step += 1

    def _set_learning_rate(self) -> None:
        warm = min(1.0, (self.step + 1) / self.config.warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, self.step / self.config.num_steps)))
        for optimizer in (self.optimizer, self.discriminator_optimizer):
            for group in optimizer.param_groups:
                group["lr"] = self.config.learning_rate * warm * max(cosine, 0.01)

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.ema_decay, (self.step + 1) / (self.step + 10))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)

    def average_at(self, levels: Tensor) -> Any:
        """Return the averaged network at fixed noise levels, (N,), for `denoise`."""
        return _AtLevels(self.average, levels)

    def save(self, path: Path) -> None:
        """Write the whole state."""
        state = {
            "config": asdict(self.config),
            "step": self.step,
            "best": self.best,
            "history": self.history,
            "results": self._results,
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
        self.step, self.best, self.history = state["step"], state["best"], state["history"]
        self._results = state["results"]

    def export(self, folder: Path, scores: dict[str, float], recipe: str) -> None:
        """Write the averaged weights as a model folder in diffusers format, fp16, with their history."""
        half = self._new_model()
        half.load_state_dict(self.average.state_dict())
        half.half().save_pretrained(folder / "unet")
        self.autoencoder.save_config(folder / "vae")
        self.scheduler.save_config(folder / "scheduler")
        self.low_res_scheduler.save_config(folder / "low_res_scheduler")
        index = {"_class_name": "CompactUpscaler", "max_noise_level": self.config.max_noise_level}
        (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
        record = {
            "date": time.strftime("%Y-%m-%d"),
            "recipe": recipe,
            "step": self.step,
            "device": _name(self.device),
            "config": asdict(self.config),
        }
        write_history(folder, [*self.history, record | scores])


@dataclass(frozen=True)
class _AtLevels:
    model: CompactDenoiser
    levels: Tensor

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    def __call__(self, sample: Tensor, timestep: Tensor, **kwargs: Any) -> tuple[Tensor]:
        kwargs |= {"class_labels": self.levels}
        return cast(tuple[Tensor], self.model(sample, timestep, **kwargs))


_STATES = "model", "average", "discriminator", "optimizer", "discriminator_optimizer"


def _optimizer(model: torch.nn.Module, learning_rate: float) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.99), foreach=True)


def _signal(pictures: Tensor) -> Tensor:
    return pictures.float() / 127.5 - 1


def _each(flags: Tensor) -> Tensor:
    return flags.view(-1, 1, 1, 1)


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    return f"{torch.cpu.get_capabilities()['cpu_name']}, {torch.get_num_threads()} threads"
