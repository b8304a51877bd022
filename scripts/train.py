"""Train `compact`, the bundled model.

    python scripts/train.py --photos PHOTOS --validation KODAK --lpips LPIPS.npz --out RUN --minutes 60

Stops at `--minutes` (or `--steps`) and leaves `checkpoint.pt`; the same command goes on from there. Data,
noise and timesteps are functions of (seed, step), so a run that was interrupted sees what it would have seen.
`log.jsonl` holds losses and validations; `best/` the weights with the best validation so far, in diffusers
format, ready to replace `vidx4/weights/compact`.
"""

import argparse
import io
import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DDPMScheduler
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from metrics import Lpips, psnr_y
from vidx4.diffusion.compact import CompactDenoiser, ResidualAutoencoder

NUM_TIMESTEPS = 1000


@dataclass(frozen=True)
class Config:
    """What a run depends on; a checkpoint of another `Config` is refused."""

    seed: int = 0
    width: int = 64
    num_blocks: int = 10
    batch_size: int = 16
    crop: int = 192
    learning_rate: float = 4e-4
    warmup: int = 100
    ema_decay: float = 0.998
    terminal_share: float = 0.5
    """Share of each batch trained at the last timestep, where the latents are zeros."""
    clean_share: float = 0.75
    """Share of each batch at noise level 0 from an undamaged picture."""
    max_noise_level: int = 150


def make_schedulers() -> tuple[DDIMScheduler, DDPMScheduler]:
    """Return the latents' scheduler (nothing of the picture left at the end) and the low-resolution one.

    The latter is that of the Stable Diffusion x4 Upscaler but for a smaller first beta, so that level 0
    adds a thousandth of the range (0.13 8-bit levels) and not a hundredth.
    """
    latents = DDIMScheduler(
        num_train_timesteps=NUM_TIMESTEPS,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    )
    low_res = DDPMScheduler(beta_start=1e-6, beta_end=0.02, beta_schedule="scaled_linear")
    return latents, low_res


class Crops(Dataset[dict[str, Tensor]]):
    """Batch number `step`: crops, their reductions, and where on the two noise schedules each is."""

    def __init__(self, folder: Path, config: Config) -> None:
        paths = sorted(folder.rglob("*.jpg"))
        if not paths:
            raise SystemExit(f"no photographs (*.jpg) in {folder}")
        self.photos = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
        self.config = config
        self.level_sigma = (1 - make_schedulers()[1].alphas_cumprod).sqrt().numpy()

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng((self.config.seed, step))
        items = [self._item(rng, i) for i in range(self.config.batch_size)]
        return {key: torch.stack([item[key] for item in items]) for key in items[0]}

    def _item(self, rng: np.random.Generator, index: int) -> dict[str, Tensor]:
        clean = index < self.config.clean_share * self.config.batch_size
        level = 0 if clean else 1 + int(self.config.max_noise_level * rng.random() ** 2)
        terminal = index % 4 < 4 * self.config.terminal_share
        timestep = NUM_TIMESTEPS - 1 if terminal else int(rng.integers(NUM_TIMESTEPS - 1))
        high_res = self._crop(rng)
        low_res = reduce(high_res)
        if not clean:
            low_res = self._damage(low_res, level, rng)
        return {
            "high_res": _to_tensor(high_res),
            "low_res": _to_tensor(low_res),
            "low_res_noise": torch.from_numpy(rng.standard_normal(_chw(low_res), np.float32)),
            "noise": torch.from_numpy(rng.standard_normal((48, *low_res.shape[:2]), np.float32)),
            "level": torch.tensor(level),
            "timestep": torch.tensor(timestep),
        }

    def _crop(self, rng: np.random.Generator) -> np.ndarray:
        photo = self.photos[rng.integers(len(self.photos))]
        size = self.config.crop
        top, left = (rng.integers(length - size + 1) for length in photo.shape[:2])
        crop = np.rot90(photo[top : top + size, left : left + size], rng.integers(4))
        return crop[:, ::-1] if rng.random() < 0.5 else crop

    def _damage(self, low_res: np.ndarray, level: int, rng: np.random.Generator) -> np.ndarray:
        """Add sensor noise and JPEG blocks, at most about as strong as the noise of `level`."""
        sigma = 127.5 * self.level_sigma[level] * rng.uniform(0, 0.7)
        noisy = low_res + sigma * rng.standard_normal(low_res.shape)
        picture = Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8))
        if rng.random() < 0.5:
            worst = 95 - 65 * level / self.config.max_noise_level
            file = io.BytesIO()
            picture.save(file, "JPEG", quality=int(rng.uniform(worst, 96)))
            picture = Image.open(file)
        return np.asarray(picture)


def reduce(high_res: np.ndarray) -> np.ndarray:
    """Reduce an 8-bit picture four times by antialiased bicubic interpolation."""
    picture = Image.fromarray(np.ascontiguousarray(high_res))
    return np.asarray(picture.resize((picture.width // 4, picture.height // 4), Image.Resampling.BICUBIC))


def _to_tensor(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1) / 127.5 - 1


def _chw(picture: np.ndarray) -> tuple[int, int, int]:
    return (picture.shape[2], *picture.shape[:2])


class Trainer:
    """The state of a run: weights, their moving average, the optimiser and the step."""

    def __init__(self, config: Config, num_steps: int, out: Path, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        self.config, self.num_steps, self.out, self.device = config, num_steps, out, device
        self.model = self._new_model()
        self.average = self._new_model()
        self.average.load_state_dict(self.model.state_dict())
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=config.learning_rate)
        self.autoencoder = ResidualAutoencoder()
        self.scheduler, self.low_res_scheduler = make_schedulers()
        self.step = 0
        self.best = -math.inf

    def _new_model(self) -> CompactDenoiser:
        model = CompactDenoiser(width=self.config.width, num_blocks=self.config.num_blocks)
        return model.to(self.device, memory_format=torch.channels_last)

    def start_from(self, weights: Path) -> None:
        state = load_file(weights / "unet" / "diffusion_pytorch_model.safetensors")
        for model in (self.model, self.average):
            model.load_state_dict({key: value.float() for key, value in state.items()})

    def train_step(self, batch: dict[str, Tensor]) -> float:
        self._set_learning_rate()
        batch = {key: value.to(self.device, non_blocking=True) for key, value in batch.items()}
        with self._autocast():
            loss = self._loss(batch)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self._update_average()
        self.step += 1
        return float(loss)

    def _autocast(self) -> Any:
        fast = self.device.type == "cuda" or torch.cpu.get_capabilities().get("avx512_bf16")
        return torch.autocast(self.device.type, torch.bfloat16) if fast else nullcontext()

    def _loss(self, batch: dict[str, Tensor]) -> Tensor:
        seen = self.low_res_scheduler.add_noise(batch["low_res"], batch["low_res_noise"], batch["level"])
        latents = self.autoencoder.encode(batch["high_res"], seen)
        noisy = self.scheduler.add_noise(latents, batch["noise"], batch["timestep"])
        sample = torch.cat([noisy, seen], 1).contiguous(memory_format=torch.channels_last)
        predicted = self.model(sample, batch["timestep"], class_labels=batch["level"])[0]
        return F.l1_loss(predicted.float(), latents)

    def _set_learning_rate(self) -> None:
        warm = min(1.0, (self.step + 1) / self.config.warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, self.step / self.num_steps)))
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * warm * max(cosine, 0.01)

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.ema_decay, (self.step + 1) / (self.step + 10))
        for mean, value in zip(self.average.parameters(), self.model.parameters(), strict=True):
            mean.lerp_(value, 1 - decay)

    @torch.inference_mode()
    def validate(self, folder: Path, lpips: Lpips) -> dict[str, float]:
        """Return the mean PSNR-Y and LPIPS of one-step results on the pictures of a folder."""
        scores = [self._score(path, lpips) for path in sorted(folder.glob("*.png"))]
        return {key: sum(score[key] for score in scores) / len(scores) for key in scores[0]}

    def _score(self, path: Path, lpips: Lpips) -> dict[str, float]:
        high_res = np.asarray(Image.open(path).convert("RGB"))
        low_res = _to_tensor(reduce(high_res))[None].to(self.device)
        sample = torch.cat([low_res.new_zeros(1, 48, *low_res.shape[2:]), low_res], 1)
        latents = self.average(sample, torch.tensor(NUM_TIMESTEPS - 1, device=self.device))[0]
        picture = self.autoencoder.decode(latents, low_res).cpu()
        result = ((picture + 1) * 127.5).round().clamp(0, 255) / 255
        truth = (_to_tensor(high_res)[None] + 1) / 2
        return {"psnr_y": psnr_y(result, truth), "lpips": float(lpips(result, truth))}

    def save(self) -> None:
        state = {
            "config": asdict(self.config),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "best": self.best,
        }
        partial = self.out / "checkpoint.partial"
        torch.save(state, partial)
        partial.replace(self.out / "checkpoint.pt")

    def load(self, checkpoint: Path) -> None:
        state = torch.load(checkpoint, map_location=self.device, weights_only=True)
        if state["config"] != asdict(self.config):
            raise SystemExit(f"{checkpoint} is of another configuration: {state['config']}")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best = state["step"], state["best"]

    def export(self, folder: Path) -> None:
        """Write the averaged weights as a model folder in diffusers format, fp16."""
        half = self._new_model()
        half.load_state_dict(self.average.state_dict())
        half.half().save_pretrained(folder / "unet")
        self.autoencoder.save_config(folder / "vae")
        self.scheduler.save_config(folder / "scheduler")
        self.low_res_scheduler.save_config(folder / "low_res_scheduler")
        index = {
            "_class_name": "CompactUpscaler",
            "max_noise_level": self.config.max_noise_level,
            "trained_steps": self.step,
        }
        (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def run(trainer: Trainer, arguments: argparse.Namespace) -> None:
    """Train until the time or the steps are used up, validating every so often."""
    deadline = time.monotonic() + 60 * arguments.minutes
    lpips = Lpips(arguments.lpips)
    log = (trainer.out / "log.jsonl").open("a", buffering=1)
    losses: list[float] = []
    for batch in _batches(trainer, arguments):
        losses.append(trainer.train_step(batch))
        if trainer.step % arguments.log_every == 0:
            _write(log, trainer, loss=sum(losses) / len(losses))
            losses.clear()
        last = time.monotonic() > deadline or trainer.step == trainer.num_steps
        if last or trainer.step % arguments.validate_every == 0:
            scores = trainer.validate(arguments.validation, lpips)
            _write(log, trainer, **scores)
            if scores["psnr_y"] > trainer.best:
                trainer.best = scores["psnr_y"]
                trainer.export(trainer.out / "best")
            trainer.save()
        if last:
            return


def _batches(trainer: Trainer, arguments: argparse.Namespace) -> Iterator[dict[str, Tensor]]:
    crops = Crops(arguments.photos, trainer.config)
    return iter(
        DataLoader(
            crops,
            batch_size=None,
            sampler=range(trainer.step, trainer.num_steps),
            num_workers=arguments.workers,
            pin_memory=trainer.device.type == "cuda",
            prefetch_factor=8 if arguments.workers else None,
        )
    )


def _write(log: Any, trainer: Trainer, **values: float) -> None:
    record = {"step": trainer.step, "time": round(time.time()), **values}
    log.write(json.dumps(record) + "\n")
    print(record, flush=True)


def main() -> None:
    """Parse the arguments, then start or go on."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--validation", type=Path, required=True)
    parser.add_argument("--lpips", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path, help="a model folder to start from")
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--steps", type=int, default=6000, help="length of the learning rate schedule")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--validate-every", type=int, default=500)
    parser.add_argument("--log-every", type=int, default=50)
    parser.add_argument("--workers", type=int, default=min(8, (os.cpu_count() or 2) // 2))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(
        Config(seed=arguments.seed), arguments.steps, arguments.out, torch.device(arguments.device)
    )
    checkpoint = arguments.out / "checkpoint.pt"
    if checkpoint.exists():
        trainer.load(checkpoint)
    elif arguments.init:
        trainer.start_from(arguments.init)
    run(trainer, arguments)


if __name__ == "__main__":
    main()
