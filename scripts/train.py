"""Train `compact`, the bundled model.

    python scripts/train.py --photos PHOTOS --validation KODAK --lpips LPIPS.npz --out RUN --minutes 60

Stops at `--minutes` (or `--steps`) and leaves `checkpoint.pt`; the same command goes on from there. Data,
noise and timesteps are functions of (seed, step), so a run that was interrupted sees what it would have seen.
`log.jsonl` holds losses and validations; `best/` the weights with the best validation so far, in diffusers
format, ready to replace `vidx4/weights/compact`.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import DataLoader

from card import read_history, write_card, write_history
from metrics import Lpips, psnr_y
from photos import NUM_TIMESTEPS, Config, Crops, make_schedulers, reduce, to_tensor
from vidx4.diffusion.compact import CompactDenoiser, ResidualAutoencoder


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
        self.history: list[dict[str, Any]] = []
        self.step = 0
        self.best = -math.inf

    def _new_model(self) -> CompactDenoiser:
        model = CompactDenoiser(width=self.config.width, num_blocks=self.config.num_blocks)
        return cast(CompactDenoiser, model.to(self.device, memory_format=torch.channels_last))

    def start_from(self, weights: Path) -> None:
        """Start from a model folder's weights, whose history goes on."""
        self.history = read_history(weights)
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
        low_res = to_tensor(reduce(high_res))[None].to(self.device)
        sample = torch.cat([low_res.new_zeros(1, 48, *low_res.shape[2:]), low_res], 1)
        latents = self.average(sample, torch.tensor(NUM_TIMESTEPS - 1, device=self.device))[0]
        picture = self.autoencoder.decode(latents, low_res).cpu()
        result = ((picture + 1) * 127.5).round().clamp(0, 255) / 255
        truth = (to_tensor(high_res)[None] + 1) / 2
        return {"psnr_y": psnr_y(result, truth), "lpips": float(lpips(result, truth))}

    def save(self) -> None:
        state = {
            "config": asdict(self.config),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "best": self.best,
            "history": self.history,
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
        self.step, self.best, self.history = state["step"], state["best"], state["history"]

    def export(self, folder: Path, scores: dict[str, float]) -> None:
        """Write the averaged weights as a model folder in diffusers format, fp16, with their history."""
        half = self._new_model()
        half.load_state_dict(self.average.state_dict())
        half.half().save_pretrained(folder / "unet")
        self.autoencoder.save_config(folder / "vae")
        self.scheduler.save_config(folder / "scheduler")
        self.low_res_scheduler.save_config(folder / "low_res_scheduler")
        index = {
            "_class_name": "CompactUpscaler",
            "max_noise_level": self.config.max_noise_level,
        }
        (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
        write_history(folder, [*self.history, self._record() | scores])

    def _record(self) -> dict[str, Any]:
        cuda = self.device.type == "cuda"
        return {
            "date": time.strftime("%Y-%m-%d"),
            "step": self.step,
            "num_steps": self.num_steps,
            "device": torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads",
            "config": asdict(self.config),
        }


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
                trainer.export(trainer.out / "best", scores)
                write_card(trainer.out / "best", arguments.photos / "MANIFEST.csv")
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
